"""Readers of Parquet and Arrow files, whose cells become what JSON could have held."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_contracts.formats.items import RawRow
from flows.config.errors import InputError
from flows.data.delimited import NAMELESS, refuse_repeated

BATCH_ROWS = 10_000

PYTHON_ROWS = 100
"""Rows that become Python at once: a dictionary may repeat a long text for every row of a batch."""

PARQUET_ROWS = 1_000
"""Rows of a Parquet file that are unpacked at once, for the same reason."""

LONGEST_CELL = 10_000_000
"""Bytes of one text."""

UNREADABLE = (ValueError, OverflowError, KeyError)
"""What a cell may raise that no value of Python can hold; a KeyError is a time zone that nobody knows."""

_FILE = b"ARROW1"
"""What an Arrow file begins with; a stream does not."""


def parquet_rows(path: Path, name: str) -> Iterator[tuple[int, RawRow]]:
    """Rows of a Parquet file with their numbers, from 1."""
    with pq.ParquetFile(path) as file:
        yield from table_rows(file.iter_batches(PARQUET_ROWS), name)


def arrow_rows(path: Path, name: str) -> Iterator[tuple[int, RawRow]]:
    """Rows of an Arrow file or stream with their numbers, from 1."""
    with pa.OSFile(str(path)) as source:  # a memory map ends the process where the file is cut meanwhile
        yield from table_rows(_batches(source), name)


def columns_of(path: Path) -> list[str]:
    """Names of the columns of a Parquet or Arrow file."""
    if path.suffix == ".parquet":
        return list(pq.read_schema(path).names)
    with pa.OSFile(str(path)) as source:
        return list(_opened(source).schema.names)


def table_rows(batches: Iterable[pa.RecordBatch], name: str, *, before: int = 0) -> Iterator[tuple[int, RawRow]]:
    """Rows of tables, in which a NaN is a gap, as pandas has it, and an index without a name is left out.

    Args:
        batches: of one table.
        name: what errors call its file.
        before: how many rows stand before them.

    Raises:
        InputError: if two columns have the same name, or a cell cannot be read.
    """
    number = before
    for batch in batches:
        refuse_repeated(batch.schema.names, name)
        plain = pa.RecordBatch.from_pydict(
            {
                field.name: _plain(batch.column(field.name))
                for field in batch.schema
                if not NAMELESS.fullmatch(field.name)
            }
        )
        _refuse_long(plain, name, number)
        maps = [field.name for field in plain.schema if pa.types.is_map(field.type)]
        for start in range(0, plain.num_rows, PYTHON_ROWS):
            for row in _rows(plain.slice(start, PYTHON_ROWS), name, number):
                number += 1
                for field in maps:
                    row[field] = row[field] and _mapping(row[field], f"{name} row {number}, field {field}")
                yield number, row


def _plain(column: pa.Array) -> pa.Array:
    """Numbers as JSON has them: decimals as floats, and no NaN."""
    if pa.types.is_decimal(column.type):
        return column.cast(pa.float64())
    if pa.types.is_floating(column.type):
        column = column.cast(pa.float64())
        return pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
    return column


def _refuse_long(batch: pa.RecordBatch, name: str, before: int) -> None:
    """Refuse texts that are longer than any sensible one before they are held as such."""
    for field, column in zip(batch.schema.names, batch.columns, strict=True):
        texts = column.dictionary if pa.types.is_dictionary(column.type) else column
        while pa.types.is_list(texts.type) or pa.types.is_large_list(texts.type):
            texts = texts.flatten()
        if pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type):
            longest = pc.max(pc.binary_length(texts)).as_py() or 0
            if longest > LONGEST_CELL:
                raise InputError(
                    f"{name}, field {field}, after row {before}: a text has {longest / 1e6:.0f} MB, more than the "
                    f"{LONGEST_CELL / 1e6:.0f} MB of any sensible one: shorten it, or leave the column out"
                )


def _mapping(pairs: list[tuple[Any, Any]], place: str) -> dict[Any, Any]:
    try:
        mapping = dict(pairs)
    except TypeError:
        raise InputError(f"{place}: a key of its map is no text: write text, or leave the column out") from None
    if len(mapping) < len(pairs):
        raise InputError(f"{place}: has a key twice in one map: keep one")
    return mapping


def _rows(batch: pa.RecordBatch, name: str, before: int) -> list[RawRow]:
    try:
        return list(batch.to_pylist())
    except UNREADABLE:
        pass
    for index, row in enumerate(range(before + 1, before + 1 + batch.num_rows)):
        for field, column in zip(batch.schema.names, batch.columns, strict=True):
            try:
                column[index].as_py()
            except UNREADABLE as error:
                problem = "is not UTF-8" if isinstance(error, UnicodeError) else "is beyond what can be held"
                problem = f"has the time zone {error}, which is none" if isinstance(error, KeyError) else problem
                raise InputError(
                    f"{name} row {row}, field {field}: {problem}: mend the row, or leave the column out"
                ) from None
    raise AssertionError("a batch that cannot be read has a cell that cannot")


def _batches(source: pa.NativeFile) -> Iterator[pa.RecordBatch]:
    reader = _opened(source)
    batches = map(reader.get_batch, range(reader.num_record_batches)) if hasattr(reader, "get_batch") else iter(reader)
    for batch in batches:
        yield from (batch.slice(start, BATCH_ROWS) for start in range(0, batch.num_rows, BATCH_ROWS))


def _opened(source: pa.NativeFile) -> pa.ipc.RecordBatchFileReader | pa.ipc.RecordBatchStreamReader:
    is_file = source.read(len(_FILE)) == _FILE
    source.seek(0)
    return pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
