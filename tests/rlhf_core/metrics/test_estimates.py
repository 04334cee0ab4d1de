"""Intervals: golden values, coverage, reproducibility, and clusters that count as one draw each."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.metrics.estimates import (
    Estimate,
    bootstrap,
    clustered,
    difference,
    mean,
    point,
    proportion,
    weighted_mean,
)


def test_a_proportion_has_the_wilson_interval() -> None:
    share, n, z = 0.7, 10, 1.959963984540054
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    assert proportion(7, 10) == pytest.approx((share, middle - half, middle + half, n))


@given(n=st.integers(1, 500), share=st.floats(0.0, 1.0))
def test_a_proportion_lies_in_its_interval_inside_0_and_1(n: int, share: float) -> None:
    found = proportion(round(share * n), n)
    assert 0.0 <= found.lower <= found.value <= found.upper <= 1.0


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_a_proportion_of_nothing_or_more_than_all_is_refused(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match=r"."):
        proportion(successes, n)


def test_the_interval_of_a_mean_has_the_width_of_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 1000)
    found = mean(values)
    assert found.value == pytest.approx(values.mean())
    assert found.upper - found.lower == pytest.approx(2 * 1.96 * values.std() / np.sqrt(1000), rel=0.1)
    assert found.n == 1000


def test_intervals_hold_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(1)
    held = [found.lower <= 0.0 <= found.upper for found in (mean(rng.normal(size=200)) for _ in range(200))]
    assert 0.90 <= np.mean(held) <= 0.99


def test_an_interval_is_the_same_each_time() -> None:
    values = np.random.default_rng(2).normal(size=50)
    assert mean(values) == mean(values)


def test_equal_samples_have_no_spread() -> None:
    assert mean([2.0, 2.0, 2.0]) == Estimate(2.0, 2.0, 2.0, 3)


def test_paired_samples_are_resampled_together() -> None:
    values = np.random.default_rng(3).normal(size=100)
    found = bootstrap(lambda first, second, axis: (first - second).mean(axis=axis), values, values - 1.0)
    assert found == pytest.approx((1.0, 1.0, 1.0, 100))


def test_no_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        mean([])
    with pytest.raises(ValueError, match="at least one sample"):
        clustered(weighted_mean, [], np.array([]))


def test_clusters_of_one_are_an_ordinary_bootstrap() -> None:
    values = np.random.default_rng(4).normal(size=500)
    alone, plain = clustered(weighted_mean, np.arange(500), values), mean(values)
    assert alone.value == pytest.approx(plain.value)
    assert alone.upper - alone.lower == pytest.approx(plain.upper - plain.lower, rel=0.1)


def test_copies_of_an_observation_add_no_certainty() -> None:
    values = np.random.default_rng(5).normal(size=200)
    once = clustered(weighted_mean, np.arange(200), values)
    copied = clustered(weighted_mean, np.repeat(np.arange(200), 4), np.repeat(values, 4))
    assert copied.n == 800
    assert copied[:3] == pytest.approx(once[:3])


@given(seed=st.integers(0, 10_000))
def test_pairs_that_share_a_prompt_widen_the_interval(seed: int) -> None:
    rng = np.random.default_rng(seed)
    prompts = np.repeat(np.arange(60), 5)
    values = rng.normal(size=60)[prompts] + 0.5 * rng.normal(size=300)
    together, apart = clustered(weighted_mean, prompts, values), clustered(weighted_mean, np.arange(300), values)
    assert together.upper - together.lower > 1.3 * (apart.upper - apart.lower)


def test_the_labels_of_clusters_may_be_texts() -> None:
    values = np.arange(6.0)
    by_text = clustered(weighted_mean, ["how", "how", "why", "why", "who", "who"], values)
    assert by_text.lower < by_text.value == 2.5 < by_text.upper


def test_a_point_has_no_width() -> None:
    assert point(0.3, 7) == Estimate(0.3, 0.3, 0.3, 7)


def test_the_interval_of_a_difference_takes_the_far_ends_of_both() -> None:
    found = difference(Estimate(5.0, 2.0, 6.0, 30), Estimate(1.0, -2.0, 5.0, 20))
    assert found == pytest.approx((4.0, 4.0 - 5.0, 4.0 + np.hypot(1.0, 3.0), 20))


def test_the_difference_of_two_means_is_held_as_often_as_promised() -> None:
    rng = np.random.default_rng(5)
    draws = ((mean(rng.normal(1.0, 3.0, 100)), mean(rng.normal(0.5, 1.0, 60))) for _ in range(200))
    held = [found.lower <= 0.5 <= found.upper for found in (difference(*both) for both in draws)]
    assert 0.90 <= np.mean(held) <= 0.99
