"""What a sample shows, by draws and by the closed form of a z-test."""

import numpy as np
import pytest
import scipy

from rlhf_core.gates.power import chance_of_luck, detectable, samples_needed


def test_a_detectable_difference_is_that_of_a_z_test_of_80_percent_power() -> None:
    error = 0.02
    seen = detectable(scipy.stats.norm.ppf(0.975) * error)
    assert seen / error == pytest.approx(2.8016, abs=1e-4)  # 1.9600 + .8416
    draws = np.random.default_rng(0).normal(seen, error, 20_000)
    assert np.mean(draws - 1.959964 * error > 0.0) == pytest.approx(0.8, abs=0.01)


def test_half_the_difference_needs_four_times_the_sample() -> None:
    assert samples_needed(250, 0.1, 0.05) == 1000


def test_luck_is_half_at_the_threshold_and_gone_far_from_it() -> None:
    assert chance_of_luck(0.6, 0.5, 0.5) == pytest.approx(0.5)
    assert chance_of_luck(0.6, 0.58, 0.5) < 1e-12
    assert chance_of_luck(0.6, 0.6, 0.5) == 0.0
