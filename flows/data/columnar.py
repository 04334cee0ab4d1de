"""Readers of Parquet and Arrow files, whose cells become what JSON could have held."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from data_contracts.formats.items import RawRow
from flows.config.errors import InputError
from flows.data.delimited import NAMELESS, refuse_repeated

BATCH_ROWS = 10_000

_FILE = b"ARROW1"
"""What an Arrow file begins with; a stream does not."""


def parquet_rows(path: Path, name: str) -> Iterator[tuple[int, RawRow]]:
    """Rows of a Parquet file with their numbers, from 1."""
    with pq.ParquetFile(path) as file:
        yield from table_rows(file.iter_batches(BATCH_ROWS), name)


def arrow_rows(path: Path, name: str) -> Iterator[tuple[int, RawRow]]:
    """Rows of an Arrow file or stream with their numbers, from 1."""
    with pa.memory_map(str(path)) as source:
        yield from table_rows(_batches(source), name)


def columns_of(path: Path) -> list[str]:
    """Names of the columns of a Parquet or Arrow file."""
    if path.suffix == ".parquet":
        return list(pq.read_schema(path).names)
    with pa.memory_map(str(path)) as source:
        return list(_opened(source).schema.names)


def table_rows(batches: Iterable[pa.RecordBatch], name: str) -> Iterator[tuple[int, RawRow]]:
    """Rows of tables, in which a NaN is a gap, as pandas has it, and an index without a name is left out.

    Raises:
        InputError: if two columns have the same name, or a cell cannot be read.
    """
    number = 0
    for batch in batches:
        refuse_repeated(batch.schema.names, name)
        plain = pa.RecordBatch.from_pydict(
            {
                field.name: _plain(batch.column(field.name))
                for field in batch.schema
                if not NAMELESS.fullmatch(field.name)
            }
        )
        maps = [field.name for field in plain.schema if pa.types.is_map(field.type)]
        for row in _rows(plain, name, number):
            number += 1
            for field in maps:
                row[field] = row[field] and dict(row[field])
            yield number, row


def _plain(column: pa.Array) -> pa.Array:
    """Numbers as JSON has them: decimals as floats, and no NaN."""
    if pa.types.is_decimal(column.type):
        return column.cast(pa.float64())
    if pa.types.is_floating(column.type):
        column = column.cast(pa.float64())
        return pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
    return column


def _rows(batch: pa.RecordBatch, name: str, before: int) -> list[RawRow]:
    try:
        return list(batch.to_pylist())
    except (ValueError, OverflowError):
        pass
    for index, row in enumerate(range(before + 1, before + 1 + batch.num_rows)):
        for field, column in zip(batch.schema.names, batch.columns, strict=True):
            try:
                column[index].as_py()
            except (ValueError, OverflowError) as error:
                problem = "is not UTF-8" if isinstance(error, UnicodeError) else "is beyond what can be held"
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
