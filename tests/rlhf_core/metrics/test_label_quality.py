"""What labels are worth, on pairs whose labels are known."""

import numpy as np
import pytest

from rlhf_core.data.pair_weights import CannotBalance
from rlhf_core.data.records import Pair
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.label_quality import after_balance, counted_agreement, label_worth


def pairs(count: int, longer: float) -> list[Pair]:
    """Two pairs a prompt, of which so many have the longer response chosen."""
    rng = np.random.default_rng(0)
    found = []
    for index in range(count):
        long, short = f"take tap {index} out", f"tap {index}"
        texts = (long, short) if rng.random() < longer else (short, long)
        found.append(Pair(f"prompt {index // 2}", *texts))
    return found


def groups(items: list[Pair]) -> list[str]:
    return [pair.prompt for pair in items]


def test_votes_at_random_agree_as_chance_does_though_the_majority_is_called_chosen() -> None:
    items, rng = pairs(3000, 0.5), np.random.default_rng(1)
    for_chosen = np.maximum(first := rng.binomial(3, 0.5, len(items)), 3 - first)
    noise = counted_agreement(items, groups(items), np.stack([for_chosen, 3 - for_chosen], axis=1))
    assert noise["krippendorff_alpha"].value == pytest.approx(0.0, abs=0.04)
    assert noise["raw_agreement"].value == pytest.approx(0.5, abs=0.03)


def test_single_votes_leave_the_noise_unknown() -> None:
    items = pairs(200, 0.5)
    assert counted_agreement(items, groups(items), np.tile([1, 0], (200, 1))) == {}
    even = [(f"even {i}", 1) for i in range(50)]
    noise = counted_agreement(items, groups(items), np.tile([2, 0], (200, 1)), even=even)
    assert noise["raw_agreement"][::3] == (0.8, 100 + 50)  # 100 prompts of two pairs
    ceiling = {"ceiling": Estimate(0.8, 0.7, 0.9, 50)}
    assert label_worth(items, groups(items), ceiling).noise == ceiling


def test_floors_and_effects_of_pairs_that_length_decides() -> None:
    items = pairs(400, 0.9)
    worth = label_worth(items, groups(items), {}, total=10_000)
    share = sum(len(pair.chosen) > len(pair.rejected) for pair in items) / 400
    assert worth.floors["longest"].value == pytest.approx(share)
    assert worth.floors["bag_of_words"].value == pytest.approx(share, abs=0.01)
    assert worth.effects["words"].others_equal.lower > 4.0
    assert (worth.pairs, worth.total, worth.balanced) == (400, 10_000, None)
    after = after_balance(items, groups(items), "length")
    assert after.effects["words"].alone.value == pytest.approx(1.0)
    assert after.largest_weight == pytest.approx(1 / (2 * (1 - share)), rel=0.2)
    assert after.pairs == 400


def test_dropping_shows_in_the_count_of_pairs() -> None:
    items = pairs(400, 0.9)
    after = after_balance(items, groups(items), "length-drop")
    assert after.pairs == 2 * sum(len(pair.chosen) < len(pair.rejected) for pair in items)
    assert after.largest_weight == 1.0


def test_what_cannot_be_balanced_is_refused() -> None:
    items = pairs(100, 1.0)
    with pytest.raises(CannotBalance):
        after_balance(items, groups(items), "length")
