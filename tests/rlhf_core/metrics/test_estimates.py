"""Intervals: golden values, coverage, reproducibility, and clusters that count as one draw each."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from scipy import stats

from rlhf_core.gates.defaults import DEFAULT_REWARD_MODEL_GATES
from rlhf_core.gates.gate import judge
from rlhf_core.metrics import estimates
from rlhf_core.metrics.estimates import (
    Estimate,
    clustered,
    difference,
    mean,
    point,
    proportion,
    resampling_interval,
    share,
    weighted_covariance,
    weighted_mean,
)

ALONE = np.arange(100)


def test_a_proportion_has_the_wilson_interval() -> None:
    right, n, z = 0.7, 10, 1.959963984540054
    middle = (right + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(right * (1 - right) / n + z**2 / (4 * n**2))
    assert proportion(7, 10) == pytest.approx((right, middle - half, middle + half, n))


@given(n=st.integers(1, 500), part=st.floats(0.0, 1.0))
def test_a_proportion_lies_in_its_interval_inside_0_and_1(n: int, part: float) -> None:
    found = proportion(round(part * n), n)
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


def test_resamples_of_many_clusters_are_not_kept_and_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=2500)
    kept = mean(values, np.arange(2500) // 2)
    monkeypatch.setattr(estimates, "MOST_KEPT", 100)
    monkeypatch.setattr(estimates, "_kept_draws", None)
    assert mean(values, np.arange(2500) // 2) == kept


def test_equal_samples_have_no_spread() -> None:
    assert mean([2.0, 2.0, 2.0]) == Estimate(2.0, 2.0, 2.0, 3)


def test_paired_samples_are_resampled_together() -> None:
    values = np.random.default_rng(3).normal(size=100)
    found = clustered(lambda weights, *both: weighted_mean(weights, both[0] - both[1]), ALONE, values, values - 1.0)
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
    assert copied == pytest.approx(once)
    assert copied.n == 200


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


def coin_prompts(prompts: int, pairs: int, seed: int) -> Estimate:
    """Agreement of a model that knows nothing: a coin for each prompt says how often it is right about its pairs."""
    rng = np.random.default_rng(seed)
    chances = 1 / (1 + np.exp(-rng.normal(size=prompts)))
    hits = rng.random((prompts, pairs)) < chances[:, None]
    return mean(hits.ravel(), np.repeat(np.arange(prompts), pairs))


@pytest.mark.parametrize(("prompts", "pairs"), [(2, 100), (3, 70), (6, 36), (8, 28), (20, 10), (100, 2)])
def test_few_prompts_of_many_pairs_have_intervals_that_hold_the_truth(prompts: int, pairs: int) -> None:
    found = [coin_prompts(prompts, pairs, seed) for seed in range(400)]
    assert {one.n for one in found} == {prompts}
    assert np.mean([one.lower > 0.5 for one in found]) <= 0.05  # 2.5 % is promised
    assert 0.92 <= np.mean([one.lower <= 0.5 <= one.upper for one in found]) <= 0.99


def test_three_clusters_have_the_percentiles_stretched_by_student_and_the_spread_of_samples() -> None:
    found = clustered(weighted_mean, ["a", "b", "c", "c"], np.array([0.0, 1.0, 2.0, 2.0]))
    t, z = 4.302653, 1.959964  # one in 27 resamples is a cluster three times, so the percentiles are the extremes
    stretch = np.sqrt(3 / 2) * t / z
    assert found == pytest.approx((1.25, 1.25 - stretch * 1.25, 1.25 + stretch * 0.75, 3))


def test_many_samples_have_the_percentiles() -> None:
    found = resampling_interval(0.0, np.linspace(-1.0, 1.0, 1001), 10_000)
    assert found == pytest.approx((0.0, -0.95, 0.95, 10_000), rel=4e-4)


def test_one_prompt_has_no_interval_however_many_its_pairs_and_no_gate_decides_by_it() -> None:
    hits = np.random.default_rng(6).random(240) < 0.6
    found = mean(hits, ["how"] * 240)
    assert (found.value, found.n, found.has_interval) == (hits.mean(), 1, False)
    assert found.lower < -1e300 and found.upper > 1e300
    (verdict,) = judge([gate for gate in DEFAULT_REWARD_MODEL_GATES if gate.name == "agrees"], {"agreement": found})
    assert (verdict.status, verdict.lower, verdict.upper) == ("abstain", None, None)
    assert verdict.explanation == "agreement: a verdict needs 200 prompts, and this has 1"


def test_a_figure_without_an_interval_goes_through_json() -> None:
    found = mean([0.25])
    typed = TypeAdapter(Estimate)
    assert typed.validate_json(typed.dump_json(found)) == Estimate.from_json(found.as_json()) == found
    assert found.as_json() == {"value": 0.25, "lower": None, "upper": None, "n": 1}


def test_an_interval_is_cut_to_where_the_figure_can_lie() -> None:
    assert Estimate(0.9, 0.7, 1.1, 5).within(0.0, 1.0) == Estimate(0.9, 0.7, 1.0, 5)
    assert not mean([1.0]).within(0.0, 1.0).has_interval


def test_what_always_happened_may_yet_fail() -> None:
    # Wilson with z = 1.959964: all of n has the lower end n / (n + z^2)
    five = 5 / (5 + 1.959963984540054**2)
    assert share([1, 1, 1, 1, 1]) == pytest.approx((1.0, five, 1.0, 5))
    assert share(np.zeros(40), np.repeat(np.arange(5), 8)) == pytest.approx((0.0, 0.0, 1 - five, 5))
    assert not share(np.ones(240), np.zeros(240)).has_interval


def test_a_share_has_the_wilson_interval_of_as_many_trials_as_its_variance_says() -> None:
    hits = np.repeat([1.0, 0.0], [90, 10])
    t, z = 1.984217, 1.959964  # 97.5 % points, t with 99 degrees of freedom
    trials = 99 * (z / t) ** 2  # p (1 - p) over its variance p (1 - p) / 99
    root = z * np.sqrt(0.09 / trials + z**2 / (4 * trials**2))
    middle, whole = 0.9 + z**2 / (2 * trials), 1 + z**2 / trials
    expected = (0.9, (middle - root) / whole, (middle + root) / whole, 100)
    assert share(hits) == pytest.approx(expected, abs=1e-6)
    assert share(np.repeat(hits, 3), np.repeat(ALONE, 3)) == pytest.approx(expected, abs=1e-6)
    assert share([0.5, 0.5]) == pytest.approx((0.5, 0.5, 0.5, 2))
    with pytest.raises(ValueError, match="at least one"):
        share([])


@pytest.mark.parametrize(("n", "truth"), [(20, 0.5), (20, 0.8), (20, 0.9), (100, 0.5), (100, 0.9), (100, 0.98)])
def test_shares_of_single_pairs_hold_the_truth_by_the_binomial_distribution(n: int, truth: float) -> None:
    found = [share(np.arange(n) < hits) for hits in range(n + 1)]
    chances = stats.binom.pmf(np.arange(n + 1), n, truth)
    assert chances[[one.lower <= truth <= one.upper for one in found]].sum() > 0.93
    assert chances[[one.lower > truth for one in found]].sum() < 0.035  # what a gate would pass by chance


@pytest.mark.parametrize(("prompts", "pairs", "truth"), [(20, 4, 0.9), (100, 4, 0.98), (20, 20, 0.8), (100, 20, 0.9)])
def test_shares_of_pairs_that_share_prompts_hold_the_truth(prompts: int, pairs: int, truth: float) -> None:
    rng = np.random.default_rng(7)
    chances = rng.beta(truth / 0.3 * 0.7, (1 - truth) / 0.3 * 0.7, (400, prompts, 1))  # correlated by .3
    found = [
        share(hits.ravel(), np.repeat(np.arange(prompts), pairs))
        for hits in rng.random((400, prompts, pairs)) < chances
    ]
    assert np.mean([one.lower <= truth <= one.upper for one in found]) > 0.9
    assert np.mean([one.lower > truth for one in found]) < 0.07


def test_weighted_covariance_is_that_of_repeated_rows() -> None:
    values = np.random.default_rng(7).normal(5.0, 2.0, (6, 3))
    counts = np.array([[1, 2, 0, 1, 3, 1], [1, 1, 1, 1, 1, 1]], dtype=np.float64)
    expected = [np.cov(np.repeat(values, row.astype(int), axis=0).T, ddof=0) for row in counts]
    assert weighted_covariance(counts, values) == pytest.approx(np.array(expected))
