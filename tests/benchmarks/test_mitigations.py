"""What curves say: gold at one KL, spread over seeds, differences by seed, the share of the peak that is kept."""

import math
import statistics
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.quality.mitigations.curves import gain_at, kept, paired, peak, spread, within_budget


def curve(*points: tuple[float, float]) -> list[dict[str, Any]]:
    """KL and gold of each evaluation; the bound on KL is a nat above it."""
    return [{"step": place, "kl": kl, "kl_upper": kl + 1.0, "gold": gold} for place, (kl, gold) in enumerate(points)]


# Gold at the same KL


def test_gold_that_grows_with_the_distance_is_read_off_exactly() -> None:
    straight = curve(*((d * d, 0.7 + 3.0 * d) for d in (0.0, 0.3, 1.1, 2.6)))
    np.testing.assert_allclose(gain_at(straight, [0.0, 0.04, 1.0, 4.0, 6.76]), 3.0 * np.sqrt([0, 0.04, 1, 4, 6.76]))


def test_a_kl_that_was_not_reached_has_no_gold() -> None:
    found = gain_at(curve((0.0, 1.0), (2.0, 2.0)), [2.0, 2.1])
    assert found[0] == 1.0 and math.isnan(found[1])


def test_what_counts_is_where_a_run_first_passes_a_kl() -> None:
    there_and_back = curve((0.0, 0.0), (4.0, 2.0), (1.0, -4.0), (9.0, 9.0))
    np.testing.assert_allclose(gain_at(there_and_back, [1.0, 4.0]), [1.0, 2.0])
    np.testing.assert_allclose(gain_at(there_and_back, [6.25]), [-4.0 + 13.0 * (2.5 - 1.0) / 2.0])


def test_a_log_ratio_below_zero_is_no_distance() -> None:
    np.testing.assert_allclose(gain_at(curve((0.0, 1.0), (-0.2, 3.0), (1.0, 4.0)), [0.0, 0.25]), [0.0, 2.5])


@given(st.lists(st.tuples(st.floats(0.01, 3.0), st.floats(-6.0, 6.0)), min_size=1, max_size=8), st.floats(0.0, 30.0))
def test_where_the_kl_only_grows_numpy_interpolates_alike(steps: list[tuple[float, float]], nats: float) -> None:
    d = np.cumsum([0.0, *(step for step, _ in steps)])
    gold = [0.5, *(value for _, value in steps)]
    found = gain_at(curve(*zip(d**2, gold, strict=True)), [nats])[0]
    expected = np.interp(math.sqrt(nats), d, np.array(gold) - 0.5, right=math.nan)
    np.testing.assert_allclose(found, expected, atol=1e-6)


# Over seeds


@given(st.lists(st.floats(-100.0, 100.0), min_size=1, max_size=9))
def test_a_spread_is_median_and_range(values: list[float]) -> None:
    found = spread(values)
    assert found is not None
    assert found == (pytest.approx(statistics.median(values)), min(values), max(values), len(values))


def test_nothing_has_no_spread() -> None:
    assert spread([]) is None


def test_differences_are_taken_within_seeds_that_both_arms_have() -> None:
    first, second = {3: 5.0, 1: 2.0, 2: math.nan, 7: 1.0}, {1: 0.5, 3: 7.0, 2: 1.0, 9: 0.0}
    assert paired(first, second) == [1.5, -2.0]


# The peak and what is kept of it


def test_the_share_is_of_the_gain_and_not_of_the_gold() -> None:
    free = curve((0.0, 1.0), (1.0, 1.8), (3.0, 3.0), (9.0, -1.0))
    assert kept(free, free[1]) == (pytest.approx(0.8), 2.0, 3.0, pytest.approx(0.4))
    assert kept(free, free[3]).share == -1.0
    assert kept(free, free[2]).share == 1.0


def test_of_a_gain_that_never_was_no_share_is_kept() -> None:
    falling = curve((0.0, 1.0), (1.0, 0.5))
    assert peak(falling) is falling[0]
    assert kept(falling, falling[1]) == (-0.5, 0.0, 0.0, None)


def test_a_budget_keeps_the_state_before_the_bound_passes_it() -> None:
    free = curve((0.0, 1.0), (1.0, 2.0), (2.6, 3.0), (0.5, 4.0))
    assert within_budget(free, 3.5) is free[1]
    assert within_budget(free, 3.6) is free[3]
    assert within_budget(free, math.inf) is free[3]
