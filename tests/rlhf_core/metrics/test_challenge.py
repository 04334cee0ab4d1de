"""A challenger beside a champion: what length explains, which slice loses, and what luck does."""

import numpy as np
import pytest

from rlhf_core.metrics.challenge import FEWEST_IN_SLICE, gain_at_like_length, prompt_slices, worst_slice


def test_a_gain_that_is_all_length_is_none_at_like_length() -> None:
    rng = np.random.default_rng(0)
    lengths = np.column_stack([rng.integers(10, 40, 400), rng.integers(5, 20, 400)]).astype(float)
    ratios = np.log(lengths[:, 0] / lengths[:, 1])
    noise = rng.normal(0, 0.3, 400)
    only_length = gain_at_like_length(0.8 * ratios + noise, lengths)
    assert only_length.lower < 0.0 < only_length.upper
    better = gain_at_like_length(0.8 * ratios + 0.5 + noise, lengths)
    assert better.value == pytest.approx(only_length.value + 0.5) and better.lower > 0.35
    slope, intercept = np.polyfit(ratios, 0.8 * ratios + 0.5 + noise, 1)  # least squares by another route
    assert slope == pytest.approx(0.8, abs=0.1) and better.value == pytest.approx(intercept)


def test_answers_of_one_length_have_their_mean_gain() -> None:
    gains = np.array([0.5, -0.5, 1.0, 2.0])
    assert gain_at_like_length(gains, np.full((4, 2), 7.0)).value == pytest.approx(0.75)
    assert gain_at_like_length(gains, np.zeros((4, 2))).value == pytest.approx(0.75)


def test_the_slice_that_loses_is_named_and_small_ones_are_not_looked_at() -> None:
    wins = np.concatenate([np.ones(150), np.tile([1.0, 0.0, 0.0, 0.0], 25), np.zeros(FEWEST_IN_SLICE - 1)])
    places = np.arange(len(wins))
    slices = {"won": places < 150, "lost": (places >= 150) & (places < 250), "few": places >= 250}
    name, rate = worst_slice(wins, slices) or pytest.fail("there are large slices")
    assert name == "lost" and rate.value == 0.25 and rate.upper < 0.5
    assert worst_slice(wins, {"few": slices["few"]}) is None


def test_of_equals_a_slice_seems_to_lose_in_no_more_than_one_of_forty_comparisons() -> None:
    rng = np.random.default_rng(1)
    places = np.arange(400)
    slices = {f"slice {index}": places % 6 == index for index in range(6)}
    found = (worst_slice(rng.integers(0, 2, 400).astype(float), slices) for _ in range(600))
    lost = sum(1 for each in found if each is not None and each[1].upper < 0.5)
    assert lost / 600 <= 0.035  # .025 and two standard errors of 600 draws


def test_prompts_are_parted_by_source_length_and_topic() -> None:
    things = ("kettle", "bicycle", "passport", "violin")
    prompts = [f"how do i mend the {thing} {'please ' * (index % 3)}now" for thing in things for index in range(60)]
    slices = prompt_slices(prompts, ["a.csv" if index < 100 else "b.csv" for index in range(240)])
    assert slices["source a.csv"].sum() == 100 and slices["source b.csv"].sum() == 140
    assert {f"topic {thing}" for thing in things} <= slices.keys()
    assert slices["topic violin"].tolist() == [index >= 180 for index in range(240)]
    lengths = [slices[name] for name in ("short prompts", "middling prompts", "long prompts") if name in slices]
    assert sum(rows.sum() for rows in lengths) == 240
    assert prompt_slices(["one and the same"] * 300, ["a.csv"] * 300) == {}
