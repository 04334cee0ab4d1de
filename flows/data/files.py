"""Readers of raw files and hub data sets; errors name file and row and never show the text."""

import csv
import io
import json
import zlib
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any, TextIO
from unicodedata import normalize
from urllib.parse import unquote

import pyarrow as pa

from data_contracts.formats.convert import SourceRow
from data_contracts.formats.items import RawRow
from data_contracts.formats.json_text import DECODER, RepeatedKey
from flows.config.errors import InputError
from flows.config.hub_access import asking_hub
from flows.data.columnar import BATCH_ROWS, arrow_rows, columns_of, parquet_rows, table_rows
from flows.data.delimited import NAMELESS, open_delimited, read_delimited
from flows.data.file_search import SUFFIXES, ending_problem, unpacked
from flows.data.file_signatures import refuse_what_is_no_data
from flows.data.json_array import read_array
from flows.data.text_files import (
    HEAD_BYTES,
    LONGEST_LINE,
    PACKINGS,
    bounded_lines,
    head_of,
    open_text,
    refuse_other_encodings,
)

MOST_FIELDS = 2_000
"""Columns of one row; a table with more is turned on its side, and takes hours to look at."""

_BOM = "\ufeff"

_TABLES = (".parquet", ".arrow")
_DELIMITED = (".csv", ".tsv")

DAMAGES = (EOFError, zlib.error, pa.ArrowException, OSError, UnicodeError)
"""What is raised where a file ends too soon, or is not what its first bytes say."""


def read_file(path: Path, name: str) -> Iterator[SourceRow]:
    """Rows of one file, numbered from 1.

    JSON Lines count lines, empty ones too; JSON, CSV, Parquet and Arrow count records. Whether JSON is one array or
    lines of objects, its first sign says, whatever the ending. Folders of a partition (`annotator=7`) that the name
    holds right before the file are columns, where the row has none of that name.

    Args:
        path: a file with one of `SUFFIXES`; text may be packed, with an ending of `PACKINGS` after it.
        name: what rows and errors call it.

    Raises:
        InputError: if it is empty, damaged or holds something else.
    """
    suffix = Path(unpacked(path.name)).suffix
    readers = {".csv": _delimited_rows, ".tsv": _delimited_rows, ".parquet": parquet_rows, ".arrow": arrow_rows}
    if suffix not in SUFFIXES:
        raise InputError(ending_problem(name))
    number = 0
    try:
        _refuse_wrong_packing(path, suffix, name)
        refuse_what_is_no_data(head_of(path), suffix, name)
        for row in _source_rows(readers.get(suffix, _json_rows)(path, name), name):
            number = row.number
            yield row
    except PermissionError:
        raise InputError(f"{name}: may not be read: give this user the right") from None
    except DAMAGES as error:
        raise InputError(f"{name} is damaged after row {number} ({_short(error)}): fetch it again") from None
    if number == 0:
        raise InputError(f"{name} holds no row: fetch or export it again")


def rows_of_lines(lines: bytes, name: str, *, first: int) -> Iterator[SourceRow]:
    """Rows of some lines from the middle of a file of JSON Lines.

    Args:
        lines: as they stand in the file, unpacked.
        name: what rows and errors call the file.
        first: number of the first line.

    Raises:
        InputError: as of `read_file`.
    """
    with io.TextIOWrapper(io.BytesIO(lines), encoding="utf-8", errors="surrogateescape") as text:
        yield from _source_rows(_json_lines(text, name, first), name)


def nameless_columns(path: Path) -> list[str]:
    """The columns that `read_file` leaves out, as nobody named them: an index that pandas wrote, or what has no header.

    Of a file that cannot be read there are none; `read_file` says why.
    """
    suffix = Path(unpacked(path.name)).suffix
    try:
        if suffix in _DELIMITED:
            with open_text(path, newline="") as text:
                names = open_delimited(text, path.name).header
        else:
            names = columns_of(path) if suffix in _TABLES else []
    except (InputError, csv.Error, *DAMAGES):
        return []
    return [f"{index} of {len(names)}" for index, name in enumerate(names, start=1) if NAMELESS.fullmatch(name)]


def read_hub(dataset: str, *, revision: str, split: str, data_dir: str | None) -> Iterator[SourceRow]:
    """Rows of a data set on the Hugging Face hub at a revision.

    Raises:
        InputError: if it cannot be had.
    """
    from datasets import load_dataset  # noqa: PLC0415 takes a second to import

    number = 0
    try:
        with asking_hub(f"data set {dataset}@{revision[:8]}"):
            rows = load_dataset(dataset, data_dir=data_dir, split=split, revision=revision, streaming=True)
            tables = (batch for table in rows.with_format("arrow").iter(BATCH_ROWS) for batch in table.to_batches())
            for number, row in table_rows(tables, dataset):
                yield SourceRow(dataset, number, row)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{dataset}@{revision[:8]} after row {number}: cannot be had from the hub ({_short(error)}): check name, "
            "revision and split"
        ) from None


def _source_rows(rows: Iterable[tuple[int, RawRow]], name: str) -> Iterator[SourceRow]:
    partition = partition_of(name)
    for number, row in rows:
        row = _composed(row)
        if len(row) > MOST_FIELDS:
            raise InputError(
                f"{name} row {number}: has {len(row):,} fields, and {MOST_FIELDS:,} are the most of any sensible "
                "table: turn it by its side, or leave columns out"
            )
        yield SourceRow(name, number, partition | row if partition else row)


def _composed(row: RawRow) -> RawRow:
    """A row by names in the one form of their Unicode in which configurations hold them."""
    return row if all(map(str.isascii, row)) else {normalize("NFC", field): cell for field, cell in row.items()}


def partition_of(name: str) -> RawRow:
    """What the folders right before a file say of its rows, as Hive, Spark and pandas divide tables."""
    folders: list[list[str]] = []
    for folder in reversed(PurePosixPath(name).parent.parts):
        if "=" not in folder:
            break
        folders.insert(0, folder.split("=", 1))
    return {key: None if value == "__HIVE_DEFAULT_PARTITION__" else unquote(value) for key, value in folders}


def _refuse_wrong_packing(path: Path, suffix: str, name: str) -> None:
    with path.open("rb") as file:
        start = file.read(HEAD_BYTES)
    if not start:
        raise InputError(f"{name} is empty: fetch or export it again")
    packing = next((ending for ending, (magic, _) in PACKINGS.items() if start.startswith(magic)), "")
    if packing and path.suffix != packing:
        raise InputError(f"{name} is {PACKINGS[packing][1]}: let its name end with {packing}")
    if path.suffix in PACKINGS and not packing:
        refuse_what_is_no_data(start, suffix, name)
        raise InputError(f"{name} is not {PACKINGS[path.suffix][1]}: let its name end without {path.suffix}")
    if packing and suffix in _TABLES:
        raise InputError(f"{name} is {PACKINGS[packing][1]}, and {suffix} is packed inside: unpack it")


def _delimited_rows(path: Path, name: str) -> Iterator[tuple[int, RawRow]]:
    with open_text(path, newline="") as text:
        yield from read_delimited(text, name)


def _json_rows(path: Path, name: str) -> Iterator[tuple[int, RawRow]]:
    with open_text(path) as text:
        heads = (text.read(HEAD_BYTES) for _ in range(LONGEST_LINE // HEAD_BYTES))
        is_array = next((head for head in takewhile(bool, heads) if head.strip()), "").lstrip()[:1] == "["
    with open_text(path) as text:
        yield from read_array(text, name, longest=LONGEST_LINE) if is_array else _json_lines(text, name, 1)


def _json_lines(text: TextIO, name: str, first: int) -> Iterator[tuple[int, RawRow]]:
    for number, line in enumerate(bounded_lines(text, f"{name} row", first), start=first):
        if line.strip():
            row = _object(line, f"{name} row {number}")
            if number == 1 and _is_table(row):
                raise InputError(
                    f"{name} row 1: is a table by columns, as pandas writes it by default: write rows, by "
                    "orient='records', lines=True"
                )
            yield number, row


def _is_table(row: RawRow) -> bool:
    """Whether an object holds columns by the numbers of their rows."""
    return bool(row) and all(isinstance(cell, dict) and cell and all(map(str.isdecimal, cell)) for cell in row.values())


def _object(line: str, where: str) -> RawRow:
    row = _parse(line.removeprefix(_BOM), where)
    if not isinstance(row, dict):
        raise InputError(f"{where}: is not a JSON object: write one object per line, or all of them as one array")
    return row


def _parse(line: str, where: str) -> Any:
    refuse_other_encodings(line, where)
    try:
        return DECODER.decode(line)
    except json.JSONDecodeError as error:
        if line.strip() in ("{", "[") or line.rstrip().endswith((": {", ": [")):
            raise InputError(
                f"{where}: is not JSON by itself, as it goes on in the next line: a file holds one object a line, or "
                "one array"
            ) from None
        raise InputError(
            f"{where}: is not JSON ({error.msg} at character {error.pos + 1}): mend the row; "
            "a file holds one object a line, or one array"
        ) from None
    except RepeatedKey as error:
        raise InputError(f"{where}: {error}: keep one") from None
    except RecursionError:
        raise InputError(f"{where}: is nested too deeply: mend the row") from None
    except ValueError as error:
        raise InputError(f"{where}: holds a number that nothing can hold ({_short(error)}): mend the row") from None


def _short(error: BaseException) -> str:
    """The first line of what a library says; cells are not in it."""
    return (str(error) or type(error).__name__).splitlines()[0][:200]
