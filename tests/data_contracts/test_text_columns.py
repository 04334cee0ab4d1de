import pandas as pd
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.text_columns import (
    are_ascii,
    byte_lengths,
    first_and_last_bytes,
    holds_sign,
    texts_of,
    word_counts,
)

TEXTS = st.lists(st.text(st.sampled_from("ab é\u3000\x1c\x85\xa0\t\n\x0b\x01\x1f<日"), max_size=12), max_size=8)


def held(texts: list[str], start: int) -> pa.LargeStringArray:
    return pa.array(["before it", *texts, "after it"], pa.large_string())[1:-1][start:]


@given(TEXTS, st.integers(0, 3))
def test_a_column_is_measured_as_its_cells_are(texts: list[str], start: int) -> None:
    column, texts = held(texts, start), texts[start:]
    assert word_counts(column).tolist() == [len(text.split()) for text in texts]
    assert are_ascii(column).tolist() == [text.isascii() for text in texts]
    assert byte_lengths(column).tolist() == [len(text.encode()) for text in texts]
    first, last = first_and_last_bytes(column)
    assert first.tolist() == [(text.encode() or b"\0")[0] for text in texts]
    assert last.tolist() == [(text.encode() or b"\0")[-1] for text in texts]
    assert holds_sign(column, b"<") or "<" not in "".join(texts)


def test_only_a_column_of_texts_without_gaps_is_held_as_one() -> None:
    held_text = texts_of(pd.Series(["a", "b"], dtype="str"))
    assert held_text is not None and held_text.to_pylist() == ["a", "b"]
    for column in (pd.Series(["a", None], dtype="str"), pd.Series(["a", 1], dtype=object), pd.Series([1, 2])):
        assert texts_of(column) is None
