"""Balanced pairs: length tells nothing, nothing else changes."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.data.pair_weights import CannotBalance, balance
from rlhf_core.data.records import Pair


def pair(index: int, chosen: int, rejected: int) -> Pair:
    """A pair with so many words on each side."""
    return Pair(f"prompt {index}", " ".join(["a"] * chosen), " ".join(["b"] * rejected))


def longer(pair: Pair) -> int:
    return len(pair.chosen.split()) - len(pair.rejected.split())


LENGTHS = st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), min_size=2, max_size=80).filter(
    lambda sizes: any(a > b for a, b in sizes) and any(a < b for a, b in sizes)
)


@given(LENGTHS)
def test_weights_balance_who_is_longer_and_average_1(sizes: list[tuple[int, int]]) -> None:
    pairs = [pair(index, *both) for index, both in enumerate(sizes)]
    found = balance(pairs, "length")
    assert [item._replace(weight=1.0) for item in found] == pairs
    assert sum(item.weight for item in found) == pytest.approx(len(pairs))
    assert sum(item.weight * np.sign(longer(item)) for item in found) == pytest.approx(0.0, abs=1e-9)
    assert all(item.weight == 1.0 for item in found if longer(item) == 0)


@given(LENGTHS, st.randoms(use_true_random=False))
def test_dropping_leaves_as_many_longer_as_shorter_whatever_the_order(
    sizes: list[tuple[int, int]], rng: random.Random
) -> None:
    pairs = [pair(index, *both) for index, both in enumerate(sizes)]
    found = balance(pairs, "length-drop")
    assert sum(np.sign(longer(item)) for item in found) == 0
    assert [item for item in pairs if item in found] == found
    assert [item for item in pairs if longer(item) == 0] == [item for item in found if longer(item) == 0]
    shuffled = rng.sample(pairs, len(pairs))
    assert set(balance(shuffled, "length-drop")) == set(found)


def test_weights_by_hand() -> None:
    pairs = [pair(0, 3, 1), pair(1, 3, 1), pair(2, 3, 1), pair(3, 1, 3), pair(4, 2, 2)]
    assert [item.weight for item in balance(pairs, "length")] == pytest.approx([2 / 3] * 3 + [2.0, 1.0])
    assert len(balance(pairs, "length-drop")) == 3
    assert balance(pairs, "none") == pairs


def test_weights_that_are_there_are_multiplied() -> None:
    pairs = [pair(0, 3, 1)._replace(weight=3.0), pair(1, 3, 1), pair(2, 1, 3)]
    assert [item.weight for item in balance(pairs, "length")] == pytest.approx([2.25, 0.75, 1.5])


def test_the_size_of_the_difference_tells_nothing_either() -> None:
    """Long answers win when they are much longer, short ones when they are a little shorter."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 60, 4000)
    wins = rng.random(4000) < 0.3 + 0.6 * sizes / 60
    pairs = [pair(index, 61 if won else 61 - size, 61 - size if won else 61) for index, (size, won) in
             enumerate(zip(sizes, wins, strict=True))]  # fmt: skip
    plain = np.mean([longer(item) for item in pairs])
    weighted = np.mean([item.weight * longer(item) for item in balance(pairs, "length")])
    assert plain > 5.0
    assert abs(weighted) < 0.5


def test_a_stratum_with_few_of_a_kind_is_joined_to_others() -> None:
    rare = [pair(index, 20 + index % 30, 1 if index else 60) for index in range(100)]  # one shorter among much longer
    even = [pair(index, 5, 4) if index % 2 else pair(index, 4, 5) for index in range(100)]
    assert max(item.weight for item in balance(rare + even, "length")) < 3.0
    assert max(item.weight for item in balance(rare, "length")) == 50.0


@pytest.mark.parametrize(("sizes", "said"), [((4, 2), "longer"), ((2, 4), "shorter")])
def test_one_sided_pairs_are_refused_with_the_mend(sizes: tuple[int, int], said: str) -> None:
    with pytest.raises(CannotBalance, match=f"of the 2 training pairs .* the {said} .* set balance to none"):
        balance([pair(0, *sizes), pair(1, *sizes), pair(2, 3, 3)], "length")


def test_pairs_of_equal_length_need_no_balance() -> None:
    assert balance([pair(0, 3, 3)], "length") == [pair(0, 3, 3)]
    assert balance([], "length-drop") == []
