"""The curves of Gao et al. (2023): planted coefficients come back, against scipy and by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import curve_fit, minimize_scalar

from rlhf_core.metrics.over_optimisation import fit, predicted

DISTANCES = np.array([0.0, 0.4, 0.8, 1.3, 1.9, 2.6, 3.4])


def planted(
    alpha: float, beta: float, noise: float, seed: int = 0, prompts: int = 300
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """KL and gains of evaluations at `DISTANCES`; the noise is as much above as below, so that means are exact."""
    rng = np.random.default_rng(seed)
    half = rng.normal(0.0, 1.0, (2, len(DISTANCES), prompts // 2))
    kl, gains = np.concatenate([half, -half], axis=2)
    truth = DISTANCES * (alpha - beta * np.log(np.where(DISTANCES > 0, DISTANCES, 1.0)))
    moved = (DISTANCES > 0)[:, None]
    return DISTANCES[:, None] ** 2 + 0.3 * kl * moved, truth[:, None] + noise * gains * moved


def test_planted_coefficients_come_back() -> None:
    found = fit(*planted(1.2, 0.5, 1e-3), result=6)
    assert found is not None
    assert (found.alpha.value, found.beta.value) == pytest.approx((1.2, 0.5), abs=1e-6)
    assert found.peak_nats.value == pytest.approx(math.exp(1.2 / 0.5 - 1) ** 2, rel=1e-5)


def test_the_fit_is_the_weighted_one_of_scipy_and_its_intervals_hold_the_truth() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for seed in range(20):
        kl, gains = planted(1.0, 0.8, 0.0, seed)
        gains += rng.normal(0.0, 1.5, gains.shape) * DISTANCES[:, None]  # the further, the less is known
        found = fit(kl, gains, result=6)
        assert found is not None
        distances, means = np.sqrt(kl.mean(axis=1))[1:], gains.mean(axis=1)[1:]
        errors = gains.std(axis=1)[1:] / math.sqrt(gains.shape[1])
        expected, _ = curve_fit(lambda d, a, b: d * (a - b * np.log(d)), distances, means, p0=(1, 1), sigma=errors)
        assert (found.alpha.value, found.beta.value) == pytest.approx(tuple(expected), abs=1e-5)
        held += found.beta.lower < 0.8 < found.beta.upper
    assert 16 <= held <= 20


@given(st.floats(0.1, 3.0), st.floats(0.3, 2.0))
def test_the_peak_is_where_the_curve_is_highest(alpha: float, beta: float) -> None:
    kl, gains = planted(alpha, beta, 1e-3, prompts=40)
    found = fit(kl, gains, result=6)
    assert found is not None
    limit = 4 * 3.4
    best = minimize_scalar(lambda d: -float(predicted(d, alpha, beta)), bounds=(0, limit), options={"xatol": 1e-10})
    assert float(predicted(found.peak_nats.value**0.5, alpha, beta)) == pytest.approx(-best.fun, abs=1e-3)


def test_the_share_lost_is_that_of_the_best_gain_on_the_way() -> None:
    kl, gains = planted(1.0, 1.0, 1e-3)  # peak at d = 1 with a gain of 1
    for index, distance in enumerate(DISTANCES):
        found = fit(kl, gains, result=index)
        assert found is not None
        left = distance * (1 - math.log(distance)) if distance else 0.0
        expected = 0.0 if distance <= 1 else 1 - max(left, 0.0)
        assert found.lost.value == pytest.approx(expected, abs=1e-4)
        assert found.lost.lower <= found.lost.value <= found.lost.upper


def test_a_judge_that_only_rises_has_lost_nothing_and_turns_nowhere_near() -> None:
    found = fit(*planted(1.0, -0.2, 0.1), result=6)
    assert found is not None
    assert found.lost[:3] == (0.0, 0.0, 0.0)
    assert found.peak_nats.value == pytest.approx((4 * 3.4) ** 2, rel=1e-3)


def test_a_judge_that_only_falls_has_lost_all() -> None:
    found = fit(*planted(-1.0, 0.3, 0.1), result=6)
    assert found is not None
    assert found.lost[:3] == (1.0, 1.0, 1.0)


def test_with_fewer_than_three_evaluations_away_from_the_sft_model_nothing_is_fitted() -> None:
    kl, gains = planted(1.0, 0.5, 0.1)
    assert fit(kl[:3], gains[:3], result=2) is None
    assert fit(kl[:4], gains[:4], result=3) is not None
