"""Inspection of raw data before they are ingested: format, a few records, and what the row rules say of them."""

from itertools import islice
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from data_contracts.conversation import read_conversation
from data_contracts.formats.convert import Batch, SourceRow, convert_rows
from data_contracts.formats.registry import FORMATS
from data_contracts.records import TEXTS, Kind
from data_contracts.schemas.validation import CONTRACTS, broken_rules
from flows.config.data import load_formats
from flows.config.errors import InputError
from flows.data.file_search import search_files
from flows.data.files import read_file, unread_columns
from flows.data.sources import recognised

SHOWN = 3

CELL = 60


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
    console = Console(highlight=False)
    files = search_files(path)
    for file in files.data:
        _inspect(list(islice(read_file(file, _below(file, path)), rows)), console)
        if unread := unread_columns(file):
            console.print(f"not read, as they have no name: column {escape(', '.join(unread))}")
    if files.copies:
        names = ", ".join(_below(file, path) for file in files.copies)
        console.print(f"not read, as hidden or backup files: {escape(names)}")


def _below(file: Path, path: Path) -> str:
    return file.relative_to(path).as_posix() if path.is_dir() else file.name


def _inspect(rows: list[SourceRow], console: Console) -> None:
    first = rows[0]
    name = recognised(first)
    fitting = [kind for kind, adapter in FORMATS[name].items() if adapter.fits(first.row)]
    console.print(f"[bold]{escape(first.source)}[/bold]: {name}, which gives {', '.join(fitting)}")
    kind = next(kind for kind in ("preferences", "demonstrations", "prompts") if kind in fitting)
    batch = convert_rows(kind, FORMATS[name][kind].convert, rows)
    console.print(f"{kind}: {batch.rows} raw rows read, {len(batch.frame)} records")
    console.print(_records(kind, batch))
    console.print(_verdict(kind, batch))


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


def _verdict(kind: Kind, batch: Batch) -> Table:
    contract = CONTRACTS[kind]
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for column in ("contract", "records", "first row", "what", "mend"):
        table.add_column(column, overflow="fold")
    for item in {other.rule: other for other in reversed(batch.misfits)}.values():
        count = sum(other.rule == item.rule for other in batch.misfits)
        table.add_row(item.rule, str(count), str(item.row), f"{item.field} {item.reason}", item.mend)
    for name, broken in broken_rules(kind, batch.frame, (*contract.row_rules, *contract.set_rules)).items():
        rule = contract.rules[name]
        first = batch.frame["row"].to_numpy()[broken][0]
        table.add_row(name, str(int(broken.sum())), str(first), rule.reason, rule.mend)
    for reason, count in batch.left_out.items():
        table.add_row("left out", str(count), "", escape(reason), "")
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
