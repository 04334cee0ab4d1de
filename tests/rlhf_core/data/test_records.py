"""From the columns of a table to pairs, and to plain text; by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.data.plain_text import training_text
from rlhf_core.data.records import Demonstration, Pair, make_pairs, vote_share

COUNTS = st.integers(0, 1000)


@pytest.mark.parametrize(
    ("votes", "share"),
    [((2, 1, 0), 2 / 3), ((1, 0, 1), 3 / 4), ((0, 0, 1), 1 / 2), ((3, 0, 0), 1.0), ((1, 2, 4), 3 / 7)],
)
def test_each_response_gets_half_of_a_tie(votes: tuple[int, int, int], share: float) -> None:
    assert vote_share(*votes) == share


@given(COUNTS, COUNTS, COUNTS)
def test_the_shares_of_both_responses_are_one(chosen: int, rejected: int, tied: int) -> None:
    if chosen + rejected + tied:
        assert vote_share(chosen, rejected, tied) + vote_share(rejected, chosen, tied) == pytest.approx(1.0)


def test_columns_become_pairs_in_their_order() -> None:
    texts = [("how", "so", "no"), ("why", "thus", "never")]
    assert make_pairs(texts, [(1, 0, 1), (2, 0, 0)], [0.0, 1.5]) == [
        Pair("how", "so", "no", share=0.75),
        Pair("why", "thus", "never", grade=1.5),
    ]
    with pytest.raises(ValueError, match="zip"):
        make_pairs(texts, [(1, 0, 1)], [0.0, 1.5])


def test_a_base_reads_each_answer_below_the_turns_of_its_prompt() -> None:
    talk = '[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes ?"}]'
    assert training_text([Demonstration(talk, "so")], [Pair("why", "thus", "never")]) == [
        "hi\nyes ?\nso",
        "why\nthus",
        "why\nnever",
    ]
