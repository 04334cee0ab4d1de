"""Parquet files, unpacked in parts that fit into memory whatever their pages and dictionaries repeat."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from flows.config.errors import InputError
from flows.data.cell_sizes import LEAST, LONGEST_CELL, cell_sizes, refused_size
from flows.data.parquet_pages import Pages, read_pages

MOST_ROWS = 1_000
"""Rows that are unpacked at once."""

MOST_BYTES = 400_000_000
"""Bytes that these may unpack to; mostly they have a hundredth of that. As one part follows another, several times as
many are held."""

MOST_HELD = 2_000_000_000
"""Bytes of one page of each column together, and of a nested column that is packed beyond `HARMFUL_RATIO`."""

HARMFUL_RATIO = 100
"""How many times smaller no file of sensible texts is."""


class _Column(NamedTuple):
    """A column of a group of rows: a field, or a part of a nested one.

    Attributes:
        path: such as `messages.list.element.content`.
        repeats: whether a row may have several values.
        has_texts: whether values may be of any length.
        packed: bytes in the file.
        unpacked: bytes of its pages.
        values: bytes of its values at least, each of which a dictionary may hold for many.
        pages: what its pages are like.
    """

    path: str
    repeats: bool
    has_texts: bool
    packed: int
    unpacked: int
    values: int
    pages: Pages


def parquet_batches(path: Path, name: str) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet file in parts; nested texts that are repeated beyond measure come as dictionaries.

    Args:
        path: of the file.
        name: what errors call it.

    Raises:
        InputError: naming the field that unpacks to more than any sensible one.
    """
    with pq.ParquetFile(path) as file, path.open("rb") as pages:
        for group in range(file.metadata.num_row_groups):
            columns = [_column(file, group, index, pages) for index in range(file.metadata.num_columns)]
            _refuse_harmful(columns, file.metadata.row_group(group).num_rows, name)
            large = sum(max(column.pages.largest, column.pages.dictionary) for column in columns if column.has_texts)
            rows = min(MOST_ROWS, max(1, MOST_BYTES // max(large, 1)))
            repeated = [column.path for column in columns if _is_repeated(column, path, group)]
            with pq.ParquetFile(path, read_dictionary=repeated) if repeated else nullcontext(file) as opened:
                yield from opened.iter_batches(rows, row_groups=[group])


def _column(file: pq.ParquetFile, group: int, index: int, pages: BinaryIO) -> _Column:
    column, chunk = file.schema.column(index), file.metadata.row_group(group).column(index)
    return _Column(
        path=column.path,
        repeats=column.max_repetition_level > 0,
        has_texts=column.physical_type.endswith("BYTE_ARRAY"),
        packed=chunk.total_compressed_size,
        unpacked=chunk.total_uncompressed_size,
        values=chunk.num_values * max(LEAST, column.length),
        pages=read_pages(pages, chunk),
    )


def _refuse_harmful(columns: list[_Column], rows: int, name: str) -> None:
    """Refuse what would fill the memory before its rows can be looked at one by one."""
    for column in columns:
        each = max(column.unpacked, column.values) // max(rows, 1)
        if each > LONGEST_CELL:
            raise refused_size(f"{name}, field {column.path}", each)
        ratio = column.unpacked // max(column.packed, 1)
        if column.repeats and column.unpacked > MOST_HELD and ratio > HARMFUL_RATIO:
            raise InputError(
                f"{name}, field {column.path}: {column.unpacked / 1e9:.0f} GB are packed to a {ratio:,}th, as no "
                "sensible texts are: write it again with dictionaries, or leave the column out"
            )
    pages = {column.path: column.pages.largest + column.pages.dictionary for column in columns}
    if (together := sum(pages.values())) > MOST_HELD:
        raise InputError(
            f"{name}: a page of each column has {together / 1e9:.0f} GB together, most of it in field "
            f"{max(pages, key=pages.__getitem__)}: write it again with smaller pages, or leave the column out"
        )


def _is_repeated(column: _Column, path: Path, group: int) -> bool:
    """Whether one row could hold more than `MOST_BYTES`, as its words stand in the dictionary only once."""
    words = column.pages.words
    if not (column.repeats and column.has_texts and words * column.pages.dictionary > MOST_BYTES):
        return False
    with pq.ParquetFile(path, read_dictionary=[column.path]) as file:
        (first,) = next(file.iter_batches(1, row_groups=[group], columns=[column.path])).columns
    while not pa.types.is_dictionary(first.type):
        if not pa.types.is_nested(first.type):
            return False
        first = first.field(0) if pa.types.is_struct(first.type) else first.values
    return bool(words * cell_sizes(first.dictionary).max(initial=0) > MOST_BYTES)
