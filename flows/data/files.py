"""Readers of raw files and hub data sets; errors name file and row and never show the text."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc

from data_contracts.formats.convert import SourceRow
from data_contracts.formats.items import RawRow
from flows.config.errors import InputError
from flows.config.hub_access import asking_hub
from flows.data.file_search import SUFFIXES
from flows.data.file_signatures import HEAD_BYTES, refuse_what_is_no_data
from flows.data.json_array import read_array

BATCH_ROWS = 10_000

LONGEST_LINE = 10_000_000
"""Bytes of one line; a longer one is a lost line break."""

_BYTES = "latin-1"  # every byte is a character, so that a line which is not UTF-8 can be named

_GZIP = b"\x1f\x8b"

_BOM = b"\xef\xbb\xbf"


def read_file(path: Path, name: str) -> Iterator[SourceRow]:
    """Rows of one file, numbered from 1.

    JSON Lines count lines, empty ones too; JSON, CSV, Parquet and Arrow count records. Whether JSON is one array or
    lines of objects, its first sign says, whatever the ending.

    Args:
        path: a file with one of `SUFFIXES`; text may be gzipped, with `.gz` at the end.
        name: what rows and errors call it.

    Raises:
        InputError: if it is empty, damaged or holds something else.
    """
    suffix = Path(path.name.removesuffix(".gz")).suffix
    readers = {".csv": _csv_rows, ".parquet": _parquet_rows, ".arrow": _arrow_rows}
    if suffix not in SUFFIXES:
        raise InputError(f"{name}: has none of the endings {', '.join(SUFFIXES)} (with .gz or not): rename it")
    number = 0
    try:
        with path.open("rb") as file:
            start = file.read(HEAD_BYTES)
        if not start:
            raise InputError(f"{name} is empty: fetch or export it again")
        refuse_what_is_no_data(_unpacked(start, path, name), suffix, name)
        if path.suffix == ".gz" and not start.startswith(_GZIP):
            raise InputError(f"{name} is not gzipped: let its name end without .gz")
        for number, row in readers.get(suffix, _json_rows)(path, name):
            yield SourceRow(name, number, row)
    except (EOFError, zlib.error, pa.ArrowException) as error:
        raise InputError(f"{name} is damaged after row {number} ({_short(error)}): fetch it again") from None
    except PermissionError:
        raise InputError(f"{name}: may not be read: give this user the right") from None
    except OSError as error:
        raise InputError(f"{name} is damaged after row {number} ({_short(error)}): fetch it again") from None
    if number == 0:
        raise InputError(f"{name} holds no row: fetch or export it again")


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
            for number, row in _table_rows(rows.with_format("arrow").iter(BATCH_ROWS)):
                yield SourceRow(dataset, number, row)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{dataset}@{revision[:8]} after row {number}: cannot be had from the hub ({_short(error)}): check name, "
            "revision and split"
        ) from None


def _tables(builder: str, path: Path, **settings: Any) -> Iterator[pa.Table]:
    from datasets import load_dataset  # noqa: PLC0415 takes a second to import

    rows = load_dataset(builder, data_files=[str(path)], split="train", streaming=True, **settings)
    yield from rows.with_format("arrow").iter(BATCH_ROWS)


def _unpacked(start: bytes, path: Path, name: str) -> bytes:
    """The first bytes of a file, unpacked if they are gzipped."""
    if not start.startswith(_GZIP):
        return start
    if path.suffix != ".gz":
        raise InputError(f"{name} is gzipped: let its name end with .gz")
    with _opened(path) as file:
        return file.read(HEAD_BYTES)


def _opened(path: Path) -> BinaryIO:
    """A file, unpacked where its name says that it is gzipped."""
    return cast(BinaryIO, gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def _json_rows(path: Path, name: str) -> Iterator[tuple[int, RawRow]]:
    with _opened(path) as file:
        head = file.read(HEAD_BYTES).removeprefix(_BOM).lstrip()
        while not head and (chunk := file.read(HEAD_BYTES)):
            head = chunk.lstrip()
        file.seek(0)
        if head[:1] == b"[":
            yield from read_array(file, name, longest=LONGEST_LINE)
        else:
            yield from _json_lines(file, name)


def _json_lines(file: BinaryIO, name: str) -> Iterator[tuple[int, RawRow]]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            yield number, _object(line, f"{name} row {number}")


def _object(line: bytes, where: str) -> RawRow:
    row = _parse(line, where)
    if not isinstance(row, dict):
        raise InputError(f"{where}: is not a JSON object: write one object per line, or all of them as one array")
    return row


def _parse(text: bytes, where: str) -> Any:
    if len(text) > LONGEST_LINE:
        raise InputError(
            f"{where}: has {len(text) / 1e6:.0f} MB, more than the {LONGEST_LINE / 1e6:.0f} MB of any sensible row: "
            "look for a lost line break, or shorten it"
        )
    if text.startswith(_BOM):
        raise InputError(f"{where}: starts with a byte order mark: save the file as UTF-8 without one")
    try:
        return json.loads(text.decode())
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: is not UTF-8 at byte {error.start + 1}: convert the file") from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"{where}: is not JSON ({error.msg} at character {error.pos + 1}): mend the row; "
            "a file holds one object a line, or one array"
        ) from None
    except RecursionError:
        raise InputError(f"{where}: is nested too deeply: mend the row") from None
    except ValueError as error:
        raise InputError(f"{where}: holds a number that nothing can hold ({_short(error)}): mend the row") from None


def _csv_rows(path: Path, name: str) -> Iterator[tuple[int, RawRow]]:
    from datasets import Features, Value  # noqa: PLC0415 takes a second to import

    with _opened(path) as file, io.TextIOWrapper(file, encoding=_BYTES, newline="") as text:
        header = next(csv.reader(text), [])
    if header and header[0].encode(_BYTES).startswith(_BOM):
        raise InputError(f"{name} row 1, field {header[0][3:]}: starts with a byte order mark: save it without one")
    if len(set(header)) < len(header):
        raise InputError(f"{name}: two columns have the same name: rename one")
    # Every cell is text: what looks like a number or a gap in a CSV file is for the contract to judge.
    settings = {"features": Features({column: Value("string") for column in header}), "na_filter": False}
    number = 0
    try:
        for table in _tables("csv", path, encoding=_BYTES, **settings):
            for row in table.to_pylist():
                number += 1
                yield number, {field: _decoded(cell, name, number, field) for field, cell in row.items()}
    except (ValueError, csv.Error) as error:
        raise InputError(f"{name} after row {number}: is not CSV ({_short(error)}): mend its quotation marks") from None


def _decoded(cell: str | None, name: str, number: int, field: str) -> str | None:
    try:
        return cell and cell.encode(_BYTES).decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} row {number}, field {field}: is not UTF-8 at byte {error.start + 1}: convert the file"
        ) from None


def _parquet_rows(path: Path, name: str) -> Iterator[tuple[int, RawRow]]:
    yield from _table_rows(_tables("parquet", path, batch_size=BATCH_ROWS))


def _arrow_rows(path: Path, name: str) -> Iterator[tuple[int, RawRow]]:
    yield from _table_rows(_tables("arrow", path))


def _table_rows(tables: Iterator[pa.Table]) -> Iterator[tuple[int, RawRow]]:
    """Rows of tables, in which a NaN is a gap, as pandas has it."""
    number = 0
    for table in tables:
        for index, field in enumerate(table.schema):
            if pa.types.is_floating(field.type):
                column = table.column(index)
                gaps = pc.is_nan(column)
                table = table.set_column(index, field, pc.if_else(gaps, pa.scalar(None, field.type), column))
        for row in table.to_pylist():
            number += 1
            yield number, row


def _short(error: BaseException) -> str:
    """The first line of what a library says; cells are not in it."""
    return (str(error) or type(error).__name__).splitlines()[0][:200]
