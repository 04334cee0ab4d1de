"""Columns of texts as Arrow holds them, looked at as a whole rather than cell by cell."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_ASCII = 128

_SPACES = ((9, 14), (28, 32), (32, 33))
"""Codes of ASCII white space, as Python has it, from and up to."""


def texts_of(column: "pd.Series[str]") -> pa.LargeStringArray | None:
    """The cells of a column that Arrow holds and none of which is empty; None for any other column."""
    if not isinstance(column.dtype, pd.StringDtype):
        return None
    texts = pa.array(column, pa.large_string())
    texts = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    return texts if not texts.null_count else None


def byte_lengths(texts: pa.LargeStringArray) -> NDArray[np.int64]:
    """Bytes of each text, shape ``[N]``."""
    return np.diff(_ends(texts))


def first_and_last_bytes(texts: pa.LargeStringArray) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The byte that each text begins with, and the one that it ends with, shape ``[N]`` each; 0 for no text."""
    ends, letters = _ends(texts), _letters(texts)
    if not len(letters):
        nothing = np.zeros(len(texts), dtype=np.uint8)
        return nothing, nothing
    has_any = np.diff(ends) > 0
    first = letters[np.minimum(ends[:-1], len(letters) - 1)]
    last = letters[np.maximum(ends[1:] - 1, 0)]
    return np.where(has_any, first, 0), np.where(has_any, last, 0)


def are_ascii(texts: pa.LargeStringArray) -> NDArray[np.bool_]:
    """Which texts are ASCII, shape ``[N]``."""
    return np.asarray(pc.string_is_ascii(texts).to_numpy(zero_copy_only=False), dtype=bool)


def holds_sign(texts: pa.LargeStringArray, sign: bytes) -> bool:
    """Whether any of some texts may hold a sign; where none of the column that they are of does, none of them."""
    letters = texts.buffers()[2]
    return letters is not None and sign in letters.to_pybytes()


def word_counts(texts: pa.LargeStringArray) -> NDArray[np.int32]:
    """How many words `str.split` finds in each text, shape ``[N]``."""
    ends, letters = _ends(texts), _letters(texts)
    is_space = np.zeros(len(letters), dtype=bool)
    for start, stop in _SPACES:
        is_space |= (letters - np.uint8(start)) < stop - start
    begins = ~is_space
    begins[1:] &= is_space[:-1]
    filled = ends[:-1][np.diff(ends) > 0]
    begins[filled] = ~is_space[filled]
    counts = np.diff(np.searchsorted(np.flatnonzero(begins), ends)).astype(np.int32)
    for place in np.flatnonzero(~are_ascii(texts)):
        counts[place] = len(texts[place].as_py().split())
    return counts


def _ends(texts: pa.LargeStringArray) -> NDArray[np.int64]:
    return np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]


def _letters(texts: pa.LargeStringArray) -> NDArray[np.uint8]:
    letters = texts.buffers()[2]
    return np.frombuffer(letters, np.uint8) if letters else np.zeros(0, dtype=np.uint8)
