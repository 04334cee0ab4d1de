"""Surface features: counts by hand, odds ratios against closed forms, intervals that cover."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from rlhf_core.data.records import Pair
from rlhf_core.metrics.surface_features import FEATURES, LEAST_GROUPS, surface_effects

MARKS = {"exclamations": "!", "questions": "?", "numbers": " 7"}


def pairs_of(signs: dict[str, NDArray[np.int64]]) -> list[Pair]:
    """Pairs whose chosen response has more of a mark where its sign is 1, and less where it is -1."""
    found = []
    for row in zip(*signs.values(), strict=True):
        more = "".join(MARKS[name] for name, sign in zip(signs, row, strict=True) if sign > 0)
        less = "".join(MARKS[name] for name, sign in zip(signs, row, strict=True) if sign < 0)
        found.append(Pair("ask", f"yes{more}", f"yes{less}"))
    return found


def drawn(seed: int, count: int, logs: dict[str, float]) -> list[Pair]:
    """Two responses that differ in marks at random; the first is chosen as a logistic model says."""
    rng = np.random.default_rng(seed)
    signs = rng.integers(-1, 2, (count, len(logs)))
    first = rng.random(count) < 1 / (1 + np.exp(-signs @ np.array(list(logs.values()))))
    signs[~first] *= -1
    return pairs_of(dict(zip(logs, signs.T, strict=True)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One two  three", {"words": 3}),
        ("- a\n* b\n 2. c\nd 3) e", {"list items": 3}),
        ("# Head\nuse **this** and `that`", {"markup": 5}),
        ("It might be 12, perhaps 3.5; it depends", {"hedges": 3, "numbers": 3}),
        ("I\u2019m not able to. I can't, and I cannot!", {"refusals": 3, "exclamations": 1}),
        ("Sorry, my apologies", {"apologies": 2, "first person": 1}),
        ("Certainly, happy to help. Please ask, thanks", {"politeness": 4}),
        ("Great question! You're right?", {"flattery": 2, "questions": 1}),
        ("I tell me: IBM is mine", {"first person": 2}),
    ],
)  # fmt: skip
def test_features_are_counted(text: str, expected: dict[str, int]) -> None:
    plain = text.lower().replace("\u2019", "'")
    assert {name: FEATURES[name](plain) for name in expected} == expected


def test_the_odds_ratio_of_one_feature_is_the_ratio_of_counts() -> None:
    signs = np.repeat([1, -1, 0], [300, 100, 50])
    effect = surface_effects(pairs_of({"exclamations": signs}), np.arange(450))["exclamations"]
    assert (effect.more, effect.fewer) == (300.0, 100.0)
    assert effect.alone.value == pytest.approx(300.5 / 100.5)
    assert effect.others_equal.value == pytest.approx(3.0, rel=0.01)
    error = math.sqrt(1 / 300 + 1 / 100)  # Woolf (1955)
    assert effect.others_equal.lower == pytest.approx(effect.others_equal.value * math.exp(-1.96 * error), rel=0.01)
    assert effect.alone.lower == pytest.approx(effect.alone.value * math.exp(-1.96 * error), rel=0.03)
    assert (effect.alone.n, effect.others_equal.n) == (400, 400)


def test_effects_that_were_drawn_are_found_apart() -> None:
    logs = {"exclamations": 0.8, "questions": -0.5, "numbers": 0.0}
    effects = surface_effects(drawn(0, 6000, logs), np.arange(6000))
    for name, log in logs.items():
        assert math.log(effects[name].others_equal.value) == pytest.approx(log, abs=0.1)


@pytest.mark.slow
def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    covered = 0
    for seed in range(200):
        ratio = surface_effects(drawn(seed, 400, {"exclamations": 0.5}), np.arange(400))["exclamations"].others_equal
        covered += ratio.lower <= math.exp(0.5) <= ratio.upper
    assert 0.90 <= covered / 200 <= 0.99


def test_copies_inside_a_group_add_no_certainty() -> None:
    pairs = drawn(1, 300, {"exclamations": 0.5, "questions": 0.3})
    once = surface_effects(pairs, np.arange(300))
    thrice = surface_effects(pairs * 3, np.tile(np.arange(300), 3))
    for name in once:
        assert thrice[name].others_equal[:3] == pytest.approx(once[name].others_equal[:3], rel=0.02)
        assert thrice[name].alone.upper == pytest.approx(once[name].alone.upper, rel=0.02)


def test_naming_the_responses_the_other_way_round_inverts_the_ratios() -> None:
    pairs = drawn(2, 500, {"exclamations": 0.5, "questions": 0.3})
    turned = [pair._replace(chosen=pair.rejected, rejected=pair.chosen) for pair in pairs]
    one, other = (surface_effects(items, np.arange(500)) for items in (pairs, turned))
    for name in one:
        assert other[name].others_equal.value == pytest.approx(1 / one[name].others_equal.value, rel=1e-3)


def test_a_weight_counts_like_copies() -> None:
    pairs = pairs_of({"exclamations": np.repeat([1, -1], [200, 100])})
    weighted = [pair._replace(weight=2.0 if index >= 200 else 1.0) for index, pair in enumerate(pairs)]
    effect = surface_effects(weighted, np.arange(300))["exclamations"]
    assert (effect.more, effect.fewer) == (200.0, 200.0)
    assert effect.others_equal.value == pytest.approx(1.0, abs=1e-6)
    assert effect.alone.value == pytest.approx(1.0)


def test_a_feature_that_is_always_right_keeps_a_finite_ratio() -> None:
    effect = surface_effects(pairs_of({"exclamations": np.ones(200, dtype=np.int64)}), np.arange(200))["exclamations"]
    assert 50 < effect.others_equal.value < 1e6
    assert math.isfinite(effect.others_equal.upper)
    assert effect.alone.value == pytest.approx(401.0)


def test_of_rare_features_nothing_is_said() -> None:
    rare = pairs_of({"exclamations": np.ones(LEAST_GROUPS - 1, dtype=np.int64)})
    assert surface_effects(rare, np.arange(len(rare))) == {}
    assert surface_effects([], []) == {}


def test_many_pairs_of_few_groups_say_nothing_and_groups_are_counted() -> None:
    many = pairs_of({"exclamations": np.where(np.arange(300) % 3, 1, -1)})
    assert surface_effects(many, np.arange(300) % (LEAST_GROUPS - 1)) == {}
    (effect,) = surface_effects(many, np.arange(300) % LEAST_GROUPS).values()
    assert (effect.more, effect.fewer) == (200, 100)
    assert effect.alone.n == effect.others_equal.n == LEAST_GROUPS
