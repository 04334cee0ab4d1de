"""Files whose rows are plain texts, read as columns; what is not so in a part of one is read row by row."""

from codecs import BOM_UTF8
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import dropwhile, islice
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
from numpy.typing import NDArray

from data_contracts.formats.convert import SourceRow
from data_contracts.formats.plain import NUMBER
from flows.data.cell_sizes import LONGEST_CELL
from flows.data.columnar import BATCH_ROWS, table_rows
from flows.data.file_search import unpacked
from flows.data.files import DAMAGES, MOST_FIELDS, partition_of, read_file, rows_of_lines
from flows.data.row_groups import parquet_batches
from flows.data.text_files import LONGEST_LINE, UTF_8, encoding_of, head_of, open_bytes

BLOCK_BYTES = 16 * 2**20
"""Of a file that are read at once, up to the last line break in them."""

BATCH_CHARACTERS = 100_000_000
"""Of the texts of rows that are converted at once: rows may be far longer than sensible ones."""

LARGEST_REAL = 1e300
"""Beyond it stand whole numbers that Python may refuse, and Arrow takes for reals."""

Plain = Callable[[Sequence[str]], Mapping[str, str] | None]
"""Says in which of some fields the texts of records stand; None where that is not so simple."""

Part: TypeAlias = pa.Table | list[SourceRow]
"""Rows as columns of text with their `NUMBER`, or where they are not so simple, as they are."""


def rest_of_file(path: Path, name: str, plain: Plain, fields: Sequence[str], *, after: int) -> Iterator[Part]:
    """The rows of a file after its first ones, in their order.

    Args:
        path: a file that `read_file` reads.
        name: what rows and errors call it.
        plain: which columns are read.
        fields: of the first rows, which are simple.
        after: the number of the last of these.

    Raises:
        InputError: as of `read_file`.
    """
    suffix, number = Path(unpacked(path.name)).suffix, after
    readers = {".parquet": _parquet_parts, ".json": _line_parts, ".jsonl": _line_parts, ".ndjson": _line_parts}
    columns = plain(fields)
    if columns is None or suffix not in readers or partition_of(name):
        yield from _row_by_row(path, name, after)
        return
    try:
        for part in readers[suffix](path, name, plain, columns, after):
            number = part[-1].number if isinstance(part, list) else part[NUMBER][-1].as_py()
            yield part
    except DAMAGES:
        yield from _row_by_row(path, name, number)  # which says where it is damaged


def as_columns(rows: list[SourceRow], plain: Plain) -> pa.Table | None:
    """Rows as columns of text with their `NUMBER`; None where they are not so simple."""
    fields = rows[0].row.keys()
    columns = plain(list(fields))
    if columns is None or any(row.row.keys() != fields for row in rows):
        return None
    cells = {column: [row.row[column] for row in rows] for column in columns.values()}
    if not all(type(cell) is str for column in cells.values() for cell in column):
        return None
    try:
        texts = {name: pa.array(column, pa.large_string()) for name, column in cells.items()}
    except UnicodeEncodeError:
        return None
    return pa.table({**texts, NUMBER: [row.number for row in rows]})


def chunks_of(rows: Iterable[SourceRow]) -> Iterator[list[SourceRow]]:
    """Rows in as many at once as memory takes, however long their texts are."""
    chunk: list[SourceRow] = []
    characters = 0
    for row in rows:
        chunk.append(row)
        characters += _characters(row.row)
        if len(chunk) == BATCH_ROWS or characters > BATCH_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def first_of(rows: Iterable[SourceRow], count: int) -> list[SourceRow]:
    """The first rows, fewer of them where their texts are longer than memory takes at once; the others stay unread."""
    first: list[SourceRow] = []
    characters = 0
    for row in islice(rows, count):
        first.append(row)
        characters += _characters(row.row)
        if characters > BATCH_CHARACTERS:
            break
    return first


def _characters(row: Mapping[str, object]) -> int:
    """Of all the texts in a row, however they are nested."""
    count = 0
    rest: list[object] = list(row.values())
    for cell in rest:  # which grows on the way
        if isinstance(cell, str):
            count += len(cell)
        elif isinstance(cell, dict):
            rest += cell.values()
        elif isinstance(cell, list):
            rest += cell
    return count


def _row_by_row(path: Path, name: str, after: int) -> Iterator[list[SourceRow]]:
    return chunks_of(dropwhile(lambda row: row.number <= after, read_file(path, name)))


def _line_parts(path: Path, name: str, plain: Plain, columns: Mapping[str, str], after: int) -> Iterator[Part]:
    number = 0
    for lines in _blocks(path):
        if lines is None or (b"\r" in lines and lines.count(b"\r") != lines.count(b"\r\n")):
            yield from _row_by_row(path, name, max(number, after))
            return
        starts = np.append(0, np.flatnonzero(np.frombuffer(lines, np.uint8) == ord("\n")) + 1)
        starts = starts[starts < len(lines)]
        count = len(starts)
        if number + count > after:
            known = max(after - number, 0)
            lines, starts, first = lines[starts[known] :], starts[known:] - starts[known], number + known + 1
            table = _lines_as_columns(lines, starts, plain, columns, first)
            yield from chunks_of(rows_of_lines(lines, name, first=first)) if table is None else [table]
        number += count


def _blocks(path: Path) -> Iterator[bytes | None]:
    """Whole lines of UTF-8; None where it is something else, or a line is longer than any sensible one."""
    head = head_of(path)
    if encoding_of(head) != UTF_8 or not head.removeprefix(BOM_UTF8).lstrip().startswith(b"{"):
        yield None
    rest = b""
    with open_bytes(path) as file:
        while block := file.read(BLOCK_BYTES):
            lines, found, rest = (rest + block).rpartition(b"\n")
            if len(rest) > LONGEST_LINE:
                yield None
            if found:
                yield lines + found
    if rest:
        yield rest


def _lines_as_columns(
    lines: bytes, starts: NDArray[np.int64], plain: Plain, columns: Mapping[str, str], first: int
) -> pa.Table | None:
    """Lines of which each is one object of plain texts; None where that may be otherwise."""
    begin_objects = np.frombuffer(lines, np.uint8)[starts] == ord("{")
    if not begin_objects.all() or np.diff(starts, append=len(lines)).max() > LONGEST_LINE:
        return None
    schema = pa.schema([(column, pa.string()) for column in columns.values()])
    try:
        table = pj.read_json(
            pa.BufferReader(lines),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(lines) + 1),
            parse_options=pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="infer"),
        )
    except pa.ArrowException:
        return None
    reals = [table[field.name] for field in table.schema if pa.types.is_floating(field.type)]
    if table.num_rows != len(starts) or any(pc.any(pc.greater(pc.abs(real), LARGEST_REAL)).as_py() for real in reals):
        return None
    return _sound(table, plain, columns, first)


def _parquet_parts(path: Path, name: str, plain: Plain, columns: Mapping[str, str], after: int) -> Iterator[Part]:
    number = 0
    for batches in _gathered(parquet_batches(path, name)):
        table = pa.Table.from_batches(batches).combine_chunks()
        before = max(number, min(after, number + table.num_rows))
        table, number = table.slice(before - number), number + table.num_rows
        if table.num_rows:
            part = _sound(table, plain, columns, before + 1)
            rows = table_rows(table.to_batches(), name, before=before)
            yield from chunks_of(SourceRow(name, *row) for row in rows) if part is None else [part]


def _gathered(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    gathered: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        if gathered and (size > BLOCK_BYTES or batch.schema != gathered[0].schema):
            yield gathered
            gathered, size = [], 0
        gathered.append(batch)
        size += batch.nbytes
    if gathered:
        yield gathered


def _sound(table: pa.Table, plain: Plain, columns: Mapping[str, str], first: int) -> pa.Table | None:
    """The columns of text with their `NUMBER`, if all of the table is such that nothing can be wrong with it."""
    names = table.column_names
    is_simple = (
        len(names) <= MOST_FIELDS
        and all(map(str.isascii, names))
        and len(set(names)) == len(names)
        and plain(names) == columns
        and all(map(_is_simple, table.schema.types))
    )
    if not is_simple:
        return None
    read = table.select(list(columns.values()))
    if not all(map(_is_text, read.schema.types)) or any(column.null_count for column in read.columns):
        return None
    texts = [column for column in table.columns if _is_text(column.type)]
    if any((pc.max(pc.binary_length(column)).as_py() or 0) > LONGEST_CELL for column in texts):
        return None
    try:
        table.validate(full=True)
    except pa.ArrowException:
        return None
    return read.append_column(NUMBER, pa.array(np.arange(first, first + table.num_rows)))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_simple(kind: pa.DataType) -> bool:
    """Whether no cell of a column can be what Python does not hold, but for text."""
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return _is_text(kind) or bool(numeric or pa.types.is_null(kind) or pa.types.is_timestamp(kind))
