"""Readers of Parquet and Arrow files, whose cells become what JSON could have held."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_contracts.formats.items import RawRow
from flows.config.errors import InputError
from flows.data.cell_sizes import LONGEST_CELL, cell_sizes, refused_size
from flows.data.delimited import NAMELESS, refuse_repeated
from flows.data.row_groups import parquet_batches

BATCH_ROWS = 10_000

PYTHON_ROWS = 100
"""Rows that become Python at once, if they are short."""

PYTHON_BYTES = 50_000_000
"""Bytes of the rows that do; a dictionary may repeat a long text for every one."""

UNREADABLE = (ValueError, OverflowError, KeyError)
"""What a cell may raise that no value of Python can hold; a KeyError is a time zone that nobody knows."""

_FILE = b"ARROW1"
"""What an Arrow file begins with; a stream does not."""


def parquet_rows(path: Path, name: str) -> Iterator[tuple[int, RawRow]]:
    """Rows of a Parquet file with their numbers, from 1."""
    yield from table_rows(parquet_batches(path, name), name)


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
        sizes = _row_sizes(plain, name, number)
        maps = [field.name for field in plain.schema if pa.types.is_map(field.type)]
        for part in _parts(plain, sizes):
            for row in _rows(part, name, number):
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


def _row_sizes(batch: pa.RecordBatch, name: str, before: int) -> NDArray[np.int64]:
    """Bytes of each row, of which none has a cell that is longer than any sensible one."""
    rows = np.zeros(batch.num_rows, np.int64)
    for field, column in zip(batch.schema.names, batch.columns, strict=True):
        sizes = cell_sizes(column)
        if (longest := sizes.max(initial=0)) > LONGEST_CELL:
            raise refused_size(f"{name} row {before + 1 + int(sizes.argmax())}, field {field}", longest)
        rows += sizes
    return rows


def _parts(batch: pa.RecordBatch, sizes: NDArray[np.int64]) -> Iterator[pa.RecordBatch]:
    """As many rows at once as may become Python."""
    start, ends = 0, np.cumsum(sizes)
    while start < batch.num_rows:
        before = ends[start - 1] if start else 0
        count = int(np.searchsorted(ends[start:], before + PYTHON_BYTES, "right"))
        count = min(max(count, 1), PYTHON_ROWS)
        yield batch.slice(start, count)
        start += count


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
