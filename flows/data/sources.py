"""Sources of records: the embedded world, files, or the hub; in batches, by kind."""

import hashlib
import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from data_contracts.formats.convert import Batch, SourceRow, convert_rows
from data_contracts.formats.items import Convert
from data_contracts.formats.plain import convert_columns, plain_columns
from data_contracts.records import COLUMNS, Kind
from data_contracts.schemas.validation import CONTRACTS, broken_rules, describe
from flows.config.data import (
    DATA_FOLDER,
    DataConfig,
    EmbeddedData,
    FileData,
    FileSource,
    HubSource,
    Source,
)
from flows.config.errors import InputError
from flows.config.folders import shown_path
from flows.data.columnar import BATCH_ROWS
from flows.data.converters import converter, kinds_of, recognised
from flows.data.file_search import FoundFiles, name_below, search_files
from flows.data.files import nameless_columns, read_file, read_hub
from flows.data.first_votes import FirstVotes
from flows.data.plain_texts import Part, as_columns, chunks_of, first_of, rest_of_file
from flows.data.text_files import PACKINGS
from rlhf_core.embedded_world.data import SOURCE, generate

COMPARED = ("held_out", "gold")
"""What a configuration of data names sources of that are compared and not kept."""

TABLES = (*map(str, COLUMNS), *COMPARED)
"""What a configuration of data names sources of."""

Spare = Callable[[Convert], Convert]
"""Takes votes that were withdrawn out of a function that makes pairs of raw rows."""

FIRST_ROWS = 100

RICHNESS: tuple[Kind, ...] = ("preferences", "demonstrations", "prompts")
"""Each holds the texts of those that follow it."""


class Read(NamedTuple):
    """A batch of records.

    Attributes:
        is_label: whether each is one person's label of its pair.
        keeps_ties: whether pairs that such labels leave even are records.
        is_part: whether each is a part of a row that says more, such as the prompt of a pair: several rows may share
            it, and it is one record.
    """

    batch: Batch
    is_label: bool
    keeps_ties: bool = False
    is_part: bool = False


def as_it_is(convert: Convert) -> Convert:
    """A function that makes pairs, with all of their votes."""
    return convert


def open_sources(
    data: DataConfig, *, seed: int, pinned: Container[str] | None = None, spare: Spare = as_it_is
) -> dict[Kind, Iterator[Read]]:
    """The records of every table that has a source, read as they are asked for.

    Args:
        data: where they come from.
        seed: seed of the embedded world.
        pinned: the files that are read, as `file_digests` names them; all that are there then, if not given.
        spare: takes withdrawn votes out of what makes pairs.

    Raises:
        InputError: while reading, if a file is missing or damaged.
    """
    if isinstance(data, EmbeddedData):
        world = generate(data, seed=seed)
        return {kind: _embedded(kind, getattr(world, kind)) for kind in COLUMNS}
    tables: dict[Kind, tuple[Source, ...]] = {kind: getattr(data, kind) for kind in COLUMNS}
    return {kind: _read(kind, kind, sources, pinned, spare) for kind, sources in tables.items() if sources}


def gold_questions(data: DataConfig, pinned: Container[str] | None = None) -> Iterator[pd.DataFrame]:
    """Pairs whose better response is known, as `chosen`, read as they are asked for; `pinned` as `open_sources`.

    Raises:
        InputError: while reading, if a file is missing or damaged.
    """
    yield from () if isinstance(data, EmbeddedData) else _sound("gold", "preferences", data.gold, pinned)


def held_out_prompts(data: DataConfig, pinned: Container[str] | None = None) -> Iterator[pd.DataFrame]:
    """The prompts of the evaluation sets that the data name, read as they are asked for; `pinned` as `open_sources`.

    Raises:
        InputError: naming the row, if one has no prompt that is text; while reading, if a file is missing or damaged.
    """
    yield from () if isinstance(data, EmbeddedData) else _sound("held_out", "prompts", data.held_out, pinned)


def _sound(use: str, kind: Kind, sources: Iterable[Source], pinned: Container[str] | None) -> Iterator[pd.DataFrame]:
    """Rows that are compared and not kept, none of which may break a fatal rule."""
    for batch, *_ in _read(kind, use, sources, pinned):
        rules = {rule.name: rule for rule in CONTRACTS[kind].row_rules if rule.fatal}
        broken = broken_rules(kind, batch.frame, tuple(rules.values()))
        wrong = (item for name, rows in broken.items() for item in describe(rules[name], batch.frame[rows]))
        for item in chain(batch.misfits, wrong):
            raise InputError(f"data.{use}: {item.place}: {item.reason}: {item.mend}")
        yield batch.frame


def check_files(data: DataConfig) -> None:
    """See that the files of every table and evaluation set are there.

    Raises:
        InputError: naming the field.
    """
    for table in TABLES if isinstance(data, FileData) else ():
        for source in getattr(data, table):
            try:
                source_files(source)
            except InputError as error:
                raise InputError(f"field 'data.{table}': {error}") from None


def source_files(source: FileSource) -> dict[str, Path]:
    """The files of a source by short name, which never holds a folder that only this machine has.

    Raises:
        InputError: if there is none.
    """
    files, folder = _search(source)
    return {name_below(file, folder): file for file in files.data}


def typed_paths(data: DataConfig, kinds: Iterable[Kind]) -> tuple[str, ...]:
    """The files and folders of some tables, as a person would type them in the working folder."""
    sources = [source for kind in kinds for source in getattr(data, kind)] if isinstance(data, FileData) else []
    paths = (_path(source) for source in sources if isinstance(source, FileSource))
    return tuple(dict.fromkeys(shown_path(path) for path in paths))


def file_digests(data: DataConfig) -> dict[str, str]:
    """SHA-256 of every file that is read, by use, position and name.

    Raises:
        InputError: if a file cannot be read, or two of a table are copies of one.
    """
    digests: dict[str, str] = {}
    for use in TABLES if isinstance(data, FileData) else ():
        for index, source in enumerate(getattr(data, use)):
            for name, path in source_files(source).items():
                try:
                    with path.open("rb") as file:
                        digests[f"{use}:{index}:{name}"] = hashlib.file_digest(file, "sha256").hexdigest()
                except OSError as error:
                    raise InputError(f"{name}: cannot be read ({error.strerror}); check its permissions") from None
    _refuse_copies(digests)
    return digests


def convert_file(
    kind: Kind,
    rows: Iterable[SourceRow],
    source: Source,
    spare: Spare = as_it_is,
    file: tuple[str, Path] | None = None,
) -> Iterator[Batch]:
    """The records of one file or data set, in its own or a recognised format.

    Args:
        kind: what is wanted.
        rows: all of it.
        source: how it is to be read.
        spare: as of `open_sources`.
        file: name and path, of a file of which all but the first rows may be read as columns, where they are simple.

    Raises:
        InputError: if no format is named and none recognised, or it does not give this kind of data.
    """
    chunks = chunks_of(rows)
    first = next(chunks, None)
    if first is None:
        return
    convert, remarks = converter(kind, source, first, spare)
    plain = partial(plain_columns, convert)
    rest: Iterator[Part] = chunks
    if file and as_columns(first, plain):
        name, path = file
        rest = rest_of_file(path, name, plain, list(first[0].row), after=first[-1].number)
    keeps = source.ties == "keep" or source.repeats == "votes"  # until all votes on a pair are known
    for part in chain([first], rest):
        table = as_columns(part, plain) if isinstance(part, list) else part
        columns = table and plain(table.column_names)
        if table is not None and columns is not None:
            batch = convert_columns(kind, convert, columns, table, first[0].source)
        else:
            batch = convert_rows(kind, convert, part, synthetic=source.synthetic, ties=keeps)
        yield batch._replace(remarks=remarks)
        remarks = ()


def _read(
    kind: Kind, use: str, sources: Iterable[Source], pinned: Container[str] | None, spare: Spare = as_it_is
) -> Iterator[Read]:
    once = FirstVotes(spare).spare
    for index, source in enumerate(sources):
        counted = once if source.repeats == "votes" else spare
        if isinstance(source, FileSource):
            yield Read(_passed_over(kind, source), is_label=False)
        for file, rows in _opened(source, f"{use}:{index}:", pinned):
            first = first_of(rows, FIRST_ROWS)
            is_part = _says_more(kind, source, first)
            for batch in convert_file(kind, chain(first, rows), source, counted, file):
                yield Read(batch, source.repeats == "votes", source.ties == "keep", is_part)


def _says_more(kind: Kind, source: Source, first: list[SourceRow]) -> bool:
    """Whether the rows of a file hold more than this kind of data, of which they give a part."""
    if not first:
        return False
    form = source.format or recognised(first[0])
    given = {other for row in first for other in kinds_of(form, row.row)}
    return any(RICHNESS.index(other) < RICHNESS.index(kind) for other in given)


def _opened(
    source: Source, place: str, pinned: Container[str] | None
) -> Iterator[tuple[tuple[str, Path] | None, Iterator[SourceRow]]]:
    match source:
        case FileSource():
            for name, path in source_files(source).items():
                if pinned is None or place + name in pinned:
                    yield (name, path), read_file(path, name)
        case HubSource():
            rows = read_hub(source.dataset, revision=source.revision, split=source.split, data_dir=source.data_dir)
            yield None, islice(rows, source.max_rows)


def _embedded(kind: Kind, records: list[dict[str, object]]) -> Iterator[Read]:
    rows = (SourceRow(SOURCE, number, record) for number, record in enumerate(records, start=1))
    while chunk := list(islice(rows, BATCH_ROWS)):
        yield Read(convert_rows(kind, lambda record: [record], chunk), is_label=False)


def _search(source: FileSource) -> tuple[FoundFiles, Path]:
    """The files of a source, and the folder below which they have their short names."""
    path = _path(source)
    below = path.parent if source.begins_here or Path(source.path).is_absolute() else _data_folder()
    return search_files(path), below


def _path(source: FileSource) -> Path:
    path = Path(source.path)
    return path if source.begins_here else _data_folder() / path


def _data_folder() -> Path:
    return Path(os.environ.get(DATA_FOLDER) or "")


def _passed_over(kind: Kind, source: FileSource) -> Batch:
    """What stands for the files and columns that are not read: no row, each counted by its name."""
    files, folder = _search(source)
    reasons = files.passed_over(folder)
    reasons.update(
        f"column without a name, not read: {column} of {name_below(file, folder)}"
        for file in files.data
        for column in nameless_columns(file)
    )
    return Batch(pd.DataFrame(columns=list(COLUMNS[kind]), dtype=object), reasons, [], [], 0, [])


def _refuse_copies(digests: Mapping[str, str]) -> None:
    places: dict[tuple[str, str], str] = {}
    for place, digest in digests.items():
        use, _, name = place.split(":", 2)
        for packed in (f"{name}{ending}" for ending in PACKINGS):
            if use not in COMPARED and f"{place.removesuffix(name)}{packed}" in digests:
                raise InputError(f"{packed}: is {name} packed, and both are read as {use}: remove one")
        other = places.setdefault((use, digest), place)
        if use not in COMPARED and other != place:
            raise InputError(
                f"{name}: holds the same bytes as {other.split(':', 2)[2]}, and both are read as {use}: remove one, or "
                "let the rows say whose labels they are"
            )
