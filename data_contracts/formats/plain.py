"""Rows that hold a record as plain texts, of which whole columns are converted at once."""

from collections import Counter
from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_contracts.formats import trl
from data_contracts.formats.convert import Batch, SourceRow, convert_rows
from data_contracts.formats.items import Convert
from data_contracts.records import COLUMNS, VOTES, Kind
from data_contracts.text_columns import first_and_last_bytes

NUMBER = "row"
"""Column of a table of raw texts: the number of each row in its file."""

_PLAIN: dict[Convert, dict[str, str]] = {
    trl.preferences: {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"},
    trl.demonstrations: {"prompt": "prompt", "response": "completion"},
    trl.prompts: {"prompt": "prompt"},
}
"""The column of each text of a record, where that is all that a format reads."""

_OTHER_MEANING = {"synthetic", "margin", *VOTES}

_WRITTEN_BEGINS, _WRITTEN_ENDS = (np.frombuffer(signs, np.uint8) for signs in (b"[{a", b"]})"))
"""What messages begin and end with that are written down as text."""


def plain_columns(convert: Convert, fields: Collection[str]) -> dict[str, str] | None:
    """The column of each text of a record, where a format makes nothing else of rows with some fields.

    Args:
        convert: the function of the format.
        fields: all that the rows have.
    """
    columns = _PLAIN.get(convert)
    if columns is None or not set(columns.values()) <= set(fields) or _OTHER_MEANING & set(fields):
        return None
    return None if convert is trl.preferences and trl.score_fields(tuple(fields)) else columns


def convert_columns(kind: Kind, convert: Convert, columns: Mapping[str, str], rows: pa.Table, source: str) -> Batch:
    """What `convert_rows` makes of the same rows.

    Args:
        kind: what the format makes of them.
        convert: the function of the format.
        columns: as `plain_columns` gives them.
        rows: these columns, in which every cell is text, and `NUMBER`.
        source: the short name of their file.
    """
    texts = {
        text: pc.utf8_trim_whitespace(rows[column].combine_chunks().cast(pa.large_string()))
        for text, column in columns.items()
    }
    aside = _need_python(texts)
    plain = _frame(kind, texts, rows[NUMBER], source)
    if not aside.any():
        return Batch(plain, Counter(), [], [], rows.num_rows, [None] * rows.num_rows)
    others = rows.filter(pa.array(aside))
    numbers, cells = others[NUMBER].to_pylist(), others.drop_columns([NUMBER]).to_pylist()
    converted = convert_rows(kind, convert, map(SourceRow, [source] * len(cells), numbers, cells))
    try:
        frame = converted.frame.astype(plain.dtypes)
    except (ValueError, TypeError):  # a cell that is no text, or none that Arrow can hold
        plain, frame = plain.astype(object), converted.frame
    both = pd.concat([plain[~aside], frame]).sort_values("row", ignore_index=True, kind="stable")
    return converted._replace(frame=both, rows=rows.num_rows, annotators=[None] * len(both))


def _need_python(texts: Mapping[str, pa.LargeStringArray]) -> NDArray[np.bool_]:
    """Which rows have a text that may be messages written down, or a transcript of them."""
    aside = np.zeros(len(texts["prompt"]), dtype=bool)
    for name, cells in texts.items():
        first, last = first_and_last_bytes(cells)
        aside |= np.isin(first, _WRITTEN_BEGINS) & np.isin(last, _WRITTEN_ENDS)
        if name == "prompt":
            aside |= last == ord(":")
    return aside


def _frame(kind: Kind, texts: Mapping[str, pa.LargeStringArray], numbers: pa.ChunkedArray, source: str) -> pd.DataFrame:
    count = len(numbers)
    votes = {"votes_chosen": 1, "votes_rejected": 0, "votes_tied": 0, "grade": 0.0} if kind == "preferences" else {}
    columns = {
        **texts,
        "group": texts["prompt"],
        **{name: pa.repeat(number, count) for name, number in votes.items()},
        "source": pa.repeat(pa.scalar(source, pa.large_string()), count),
        "row": numbers,
    }
    frame: pd.DataFrame = pa.table({name: columns[name] for name in COLUMNS[kind]}).to_pandas()
    return frame
