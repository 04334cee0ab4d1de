"""How large the cells of a column are, told before any of them is held as Python."""

from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from flows.config.errors import InputError

LONGEST_CELL = 10_000_000
"""Bytes of one cell with all that is nested in it; no row of JSON may be longer."""

LEAST = 8
"""Bytes that each value counts at least, also those that Arrow holds in none, such as a million nulls in a list."""

MOST = 2**31
"""What no size is told beyond, so that sums of them stay numbers."""

Sizes: TypeAlias = NDArray[np.int64] | int
"""Of each value; one number where they are all alike, which takes no memory however many they are."""

_TEXTS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)


def cell_sizes(column: pa.Array) -> NDArray[np.int64]:
    """Bytes of each cell with all that is nested in it, shape ``[rows]``; what a dictionary repeats counts each time.

    Of what Arrow repeats without a dictionary, and of unions, a cell counts as the largest.
    """
    sizes = _sizes(column)
    return np.full(len(column), sizes) if isinstance(sizes, int) else sizes


def _sizes(column: pa.Array) -> Sizes:
    kind = column.type
    if not len(column):
        return LEAST
    if isinstance(column, pa.ExtensionArray):
        return _sizes(column.storage)
    if pa.types.is_dictionary(kind):
        words = _sizes(column.dictionary)
        chosen: NDArray[np.int64] = column.indices.fill_null(0).to_numpy(zero_copy_only=False)
        return words if isinstance(words, int) else np.take(words, chosen)
    if pa.types.is_struct(kind):
        parts = (_sizes(column.field(index)) for index in range(kind.num_fields))
        return _bounded(sum(parts, start=LEAST))
    if pa.types.is_fixed_size_list(kind):
        values = _sizes(column.values.slice(column.offset * kind.list_size, len(column) * kind.list_size))
        if not isinstance(values, int):
            return _bounded(LEAST + values.reshape(len(column), kind.list_size).sum(axis=1))
        return _bounded(LEAST + values * kind.list_size)
    if pa.types.is_run_end_encoded(kind):
        return _largest([column.values])
    if pa.types.is_union(kind):
        return _largest([column.field(index) for index in range(kind.num_fields)])
    if pa.types.is_nested(kind):
        return _sizes_of_lists(column)
    return _sizes_of_texts(column)


def _sizes_of_lists(column: pa.Array) -> Sizes:
    starts = column.offsets.to_numpy().astype(np.int64)
    if pa.types.is_list_view(column.type) or pa.types.is_large_list_view(column.type):
        ends = starts + column.sizes.to_numpy()
    else:
        starts, ends = starts[:-1], starts[1:]
    first = starts.min()
    values = _sizes(column.values.slice(first, ends.max() - first))
    if isinstance(values, int):
        return _bounded(LEAST + values * (ends - starts))
    before = np.append(0, np.cumsum(values))
    return _bounded(LEAST + before[ends - first] - before[starts - first])


def _sizes_of_texts(column: pa.Array) -> Sizes:
    kind = column.type
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        views = np.frombuffer(column.buffers()[1], np.int32)[::4][column.offset :][: len(column)]
        lengths = np.where(column.is_valid(), views, 0)
    elif pa.types.is_fixed_size_binary(kind):
        return max(LEAST, int(kind.byte_width))
    elif any(is_text(kind) for is_text in _TEXTS):
        lengths = pc.binary_length(column).fill_null(0).to_numpy()
    else:
        return LEAST
    sizes: NDArray[np.int64] = np.maximum(lengths, LEAST, dtype=np.int64)
    return sizes


def _bounded(sizes: Sizes) -> Sizes:
    if isinstance(sizes, int):
        return min(sizes, MOST)
    bounded: NDArray[np.int64] = np.minimum(sizes, MOST)
    return bounded


def _largest(parts: list[pa.Array]) -> int:
    return max((int(np.max(_sizes(part), initial=LEAST)) for part in parts), default=LEAST)


def refused_size(place: str, size: int) -> InputError:
    """What is said of a cell that is longer than any sensible one."""
    return InputError(
        f"{place}: a cell has {size / 1e6:,.0f} MB, more than the {LONGEST_CELL / 1e6:.0f} MB of any sensible one: "
        "shorten it, or leave the column out"
    )
