"""Inspection of raw data before they are ingested: format, a few records, and what the row rules say of them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import yaml
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from data_contracts.conversation import read_conversation
from data_contracts.formats.convert import Batch, SourceRow, convert_rows
from data_contracts.formats.items import Convert
from data_contracts.formats.registry import FORMATS, Adapter, recognise
from data_contracts.records import TEXTS, Kind
from data_contracts.schemas.rules import SHAPE
from flows.config.data import load_formats
from flows.config.errors import InputError
from flows.config.folders import plain_path
from flows.data.converters import no_format, recognised
from flows.data.file_search import search_files
from flows.data.files import nameless_columns, read_file
from flows.data.mapping.guess import Guess, guess_columns
from flows.data.mapping.guess_verdict import annotator_among, labels_among
from flows.data.mapping.rows import mapped
from flows.data.mapping.unread import unread_columns
from flows.data.plain_texts import first_of
from flows.data.quarantine import Quarantine
from flows.data.rows_alone import ingested
from flows.report import Terminal

KINDS: tuple[Kind, ...] = ("preferences", "demonstrations", "prompts")

SHOWN = 3

MOST_REASONS = 20

CELL = 60

BY_HAND = (
    "write it: `format: {columns: {prompt: ..., responses: [..., ...], label: ...}, labels: {A: first, B: second}}`, "
    "or with `columns: {prompt: ..., response: ...}` for demonstrations"
)


class _SameColumns(NamedTuple):
    """Files that have the same columns, as shards of a table do.

    Attributes:
        sources: what a configuration names to read them: the path that was typed, if it holds no others.
        title: what the first is called, and how many more there are.
        rows: the first of each file.
    """

    sources: list[str]
    title: str
    rows: list[SourceRow]


def inspect_path(path: Path, *, formats: tuple[Path, ...], rows: int) -> None:
    """Print what the files of a path are, and what the contract says of their first rows.

    Args:
        path: file, folder or glob.
        formats: Python files that register formats.
        rows: raw rows that are read of each file.

    Raises:
        InputError: if a file cannot be read, or its format is unknown.
    """
    try:
        load_formats(formats)
    except ValueError as error:
        raise InputError(f"--formats {error}") from None
    console = Terminal(highlight=False)
    files = search_files(path)
    for table in _tables(files.data, path, rows):
        _inspect(table, console)
    for nameless, count in Counter(", ".join(nameless_columns(file)) for file in files.data).items():
        if nameless:
            of = f", in {count} of {len(files.data)} files" if len(files.data) > 1 else ""
            console.print(f"not read, as they have no name: column {escape(nameless)}{of}")
    if files.copies:
        names = ", ".join(_below(file, path) for file in files.copies)
        console.print(f"not read, as hidden or backup files: {escape(names)}")
    if files.others:
        names = ", ".join(_below(file, path) for file in files.others[:SHOWN])
        more = f" and {len(files.others) - SHOWN} more" if len(files.others) > SHOWN else ""
        console.print(f"not read, as no data by their endings: {escape(names)}{more}")


def _below(file: Path, path: Path) -> str:
    return file.relative_to(path).as_posix() if path.is_dir() else file.name


def _tables(files: Sequence[Path], path: Path, count: int) -> Iterator[_SameColumns]:
    """The files by their columns, in the order of the first of each."""
    by_columns: dict[frozenset[str], dict[Path, list[SourceRow]]] = {}
    for file in files:
        rows = first_of(read_file(file, _below(file, path)), count)
        by_columns.setdefault(frozenset(name for _, _, row in rows for name in row), {})[file] = rows
    for tables in by_columns.values():
        first, *others = tables
        more = f" and {len(others)} more with the same columns" if others else ""
        sources = [path] if len(by_columns) == 1 else [*tables]
        yield _SameColumns(
            [str(plain_path(source.absolute())) for source in sources],
            f"[bold]{escape(_below(first, path))}[/bold]{more}",
            [row for rows in tables.values() for row in rows],
        )


def _inspect(table: _SameColumns, console: Terminal) -> None:
    first, raw = table.rows[0], [row for _, _, row in table.rows]
    guess = guess_columns(raw)
    if recognise(first.row) is None:
        if not guess.format:
            raise InputError(f"{no_format(first)}; no mapping can be guessed, as there is {guess.lacking}; {BY_HAND}")
        console.print(f"{table.title}: no known format, but {_sufficiency(table, guess)}")
        _show_guess(table, guess, console)
        return
    name = recognised(first)
    fitting: dict[Kind, Adapter] = {kind: each for kind, each in FORMATS[name].items() if each.fits(raw[0])}
    kind = next(kind for kind in KINDS if kind in fitting)
    if guess.format and convert_rows(kind, fitting[kind].convert, table.rows).frame.empty:
        console.print(f"{table.title}: looks like {name}, which reads no row of it; {_sufficiency(table, guess)}")
        _show_guess(table, guess, console)
        return
    console.print(f"{table.title}: {name}, which gives {', '.join(fitting)}")
    says_more = guess.format and guess.mapping.columns.kinds[0] not in fitting
    if not says_more:
        _show_records(kind, fitting[kind].convert, table.rows, console)
    unread = unread_columns(raw, *(adapter.convert for adapter in fitting.values()))
    labels = list(dict.fromkeys([*labels_among(unread, ()), *filter(None, [annotator_among(unread)])]))
    if unread.left:
        console.print(f"{name} does not read: {', '.join(unread.left)}", markup=False, soft_wrap=True)
    if labels:
        said = f"labels or their annotators seem to stand in {', '.join(labels)}, and {name} does not read them"
        console.print(f"[yellow]warning[/yellow] {escape(said)}", soft_wrap=True)
    taken = [label for label in labels if label not in guess.unread]
    if says_more or (guess.format and taken):
        what = f"{', '.join(taken)} too" if kind == guess.mapping.columns.kinds[0] else guess.mapping.columns.kinds[0]
        console.print(f"\nto read {what}, map the columns:", markup=False)
        _show_guess(table, guess, console)
    elif guess.remark:
        console.print(guess.remark, markup=False, soft_wrap=True)


def _sufficiency(table: _SameColumns, guess: Guess) -> str:
    """What a guess is worth: whether it reads any row."""
    kind = guess.mapping.columns.kinds[0]
    if convert_rows(kind, mapped(guess.mapping, kind), table.rows, ties=True).frame.size:
        return "these columns seem to say enough"
    return f"these columns, which seem to be meant, read no row; {BY_HAND}"


def _show_guess(table: _SameColumns, guess: Guess, console: Terminal) -> None:
    """Print a mapping as a configuration holds it, and what it makes of the rows."""
    kind = guess.mapping.columns.kinds[0]
    sources = [{"path": source, "format": deepcopy(guess.format)} for source in table.sources]
    data = {"data": {"kind": "files", kind: sources}}
    written = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100)
    console.print(written.rstrip(), markup=False, soft_wrap=True)
    for doubt in guess.doubts:
        console.print(f"# check {doubt}", markup=False, soft_wrap=True)
    _show_records(kind, mapped(guess.mapping, kind), table.rows, console, votes="annotator" in guess.format["columns"])
    if guess.unread:
        console.print(f"the mapping does not read: {', '.join(guess.unread)}", markup=False, soft_wrap=True)


def _show_records(
    kind: Kind, convert: Convert, rows: list[SourceRow], console: Terminal, *, votes: bool = False
) -> None:
    batch = convert_rows(kind, convert, rows, ties=votes)
    console.print(f"{kind}: {batch.rows} raw rows read, {len(batch.frame)} records")
    console.print(_records(kind, batch))
    if votes:
        people = len(set(batch.annotators) - {None})
        console.print(f"rows on one pair are votes, as in `repeats: votes`; annotators: {people}")
    console.print(*_ingested(kind, batch, is_label=votes), sep="\n", soft_wrap=True)


def _ingested(kind: Kind, batch: Batch, *, is_label: bool) -> Iterator[Table | str]:
    """What ingestion by its defaults would make of records if there were no others."""
    seen = ingested(kind, batch, is_label=is_label)
    counts, quarantine = seen.counts, seen.quarantine
    yield _verdict(quarantine, counts.left_out)
    merged = f"{counts.merged} merged with others, " if counts.merged else ""
    yield f"ingestion of these rows alone would keep {counts.written}: {merged}{counts.quarantined} quarantined"
    if refused := quarantine.judge(counts.records):
        yield f"[yellow]warning[/yellow] and refuse them: {escape(refused.reasons[0])}"


def _records(kind: Kind, batch: Batch) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    columns = ["row", *TEXTS[kind], *(["votes"] if kind == "preferences" else [])]
    for column in columns:
        table.add_column(column, overflow="fold")
    for record in batch.frame.head(SHOWN).to_dict("records"):
        cells = [str(record["row"]), *(_short(record[name]) for name in TEXTS[kind])]
        if kind == "preferences":
            tied = f" ({record['votes_tied']} tied)" if record["votes_tied"] else ""
            cells.append(f"{record['votes_chosen']}:{record['votes_rejected']}{tied}")
        table.add_row(*map(escape, cells))
    return table


def _verdict(quarantine: Quarantine, left_out: Mapping[str, int]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for column in ("contract", "records", "first row", "what", "mend"):
        table.add_column(column, overflow="fold")
    of_format = {rule.name for rule in SHAPE}
    for what, count in quarantine.by_reason.most_common(MOST_REASONS):
        item = quarantine.first[what]
        reason = f"{item.field} {item.reason}" if item.rule in of_format else item.reason
        table.add_row(item.rule, str(count), str(item.row), escape(reason), escape(item.mend))
    for why, count in left_out.items():
        table.add_row("left out", str(count), "", escape(why), "")
    if not table.rows:
        table.add_row("holds", "", "", "no row read breaks a rule", "")
    return table


def _short(cell: object) -> str:
    """The beginning of a cell; of a conversation, its last turn after the count of those before."""
    if not isinstance(cell, str):
        return repr(cell)[:CELL]
    turns = read_conversation(cell)
    text = turns[-1]["content"] if len(turns) == 1 else f"[{len(turns) - 1} turns] {turns[-1]['content']}"
    return " ".join(text[: CELL + 1].split())[:CELL] + ("…" if len(text) > CELL else "")
