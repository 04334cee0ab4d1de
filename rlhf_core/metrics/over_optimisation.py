"""Reward over-optimisation: the curves of Gao et al. (2023) of a judge's gain over the KL, fitted with intervals.

E counts evaluations of one run, N the prompts that all of them answered, d = sqrt(KL to SFT).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlhf_core.metrics.estimates import RESAMPLES, Estimate, resampling_interval

LEAST_EVALUATIONS = 3
"""Away from the SFT model, for two coefficients."""

FURTHEST = 4.0
"""A peak beyond so many times the furthest distance measured counts as there: the curve has not turned."""


Array = NDArray[np.float64]


class Fit(NamedTuple):
    """What a judge's gain over distance says; n counts prompts.

    Attributes:
        alpha: gain per sqrt(nat) at the start, or where log d is 0.
        beta: how fast it bends; with 0 or less it never turns.
        peak_nats: KL at which the fitted gain is largest, at most (4 d)^2 for the furthest d measured.
        lost: share of the largest fitted gain on the way that the result has lost again, 0 before the peak, 1 where
            nothing is left of it.
    """

    alpha: Estimate
    beta: Estimate
    peak_nats: Estimate
    lost: Estimate


def fit(kl: ArrayLike, gains: ArrayLike, *, result: int) -> Fit | None:
    """Fit the curve of Gao et al. (2023), section 3.1, for policies that were trained: gain = d (alpha - beta log d).

    Weighted least squares of the mean gains, which are linear in both coefficients, weights from their variances. The
    intervals are those of resampled prompts, so that what evaluations share (prompts, and the SFT model's
    answers to them) is allowed for.

    Args:
        kl: to the SFT model of each response, shape ``[E, N]``, nats.
        gains: the judge's score of each response less that of the SFT model's to the prompt, shape ``[E, N]``, logits.
        result: which evaluation the result of the run is.

    Returns:
        The fit; None with fewer than three evaluations away from the SFT model.
    """
    drift, gain = (np.asarray(columns, dtype=np.float64) for columns in (kl, gains))
    away = np.ptp(gain, axis=1) > 0  # the SFT model itself gains nothing anywhere, which says nothing of the curve
    if np.count_nonzero(away & (drift.mean(axis=1) > 0)) < LEAST_EVALUATIONS:
        return None
    count = drift.shape[1]
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=RESAMPLES) / count
    weights = np.where(away, count / np.where(away, gain.var(axis=1), 1.0), 0.0)
    draws = np.vstack([np.full(count, 1 / count), draws])
    distances = np.sqrt(np.maximum(draws @ drift.T, 0.0))
    curves = _described(*_solve(distances, draws @ gain.T, weights), distances, result)
    return Fit(*(resampling_interval(float(figure[0]), figure[1:], count) for figure in curves))


def predicted(distances: ArrayLike, alpha: ArrayLike, beta: ArrayLike) -> Array:
    """Gain at some distances from the SFT model by the curve, in the unit of the judge; all broadcast."""
    d, a, b = (np.asarray(values, dtype=np.float64) for values in (distances, alpha, beta))
    return np.asarray(a * d - b * _bend(d))


def _bend(d: Array) -> Array:
    """What beta multiplies."""
    return np.asarray(d * np.log(np.where(d > 0, d, 1.0)))


def _solve(distances: Array, gains: Array, weights: Array) -> tuple[Array, Array]:
    """Coefficients of each of R resamples of E evaluations, each shape ``[R]``."""
    design = np.stack([distances, -_bend(distances)], axis=-1)
    weighted = design * weights[:, None]
    normal = np.einsum("rei,rej->rij", weighted, design)
    target = np.einsum("rei,re->ri", weighted, gains)
    solved = np.einsum("rij,rj->ri", np.linalg.pinv(normal, hermitian=True), target)
    return solved[:, 0], solved[:, 1]


def _described(alpha: Array, beta: Array, distances: Array, result: int) -> tuple[Array, Array, Array, Array]:
    """Coefficients, KL at the peak and share lost, each shape ``[R]``."""
    limit, at = FURTHEST * distances.max(axis=1), distances[:, result]
    turns = beta > 0
    top = np.exp(np.clip(alpha / np.where(turns, beta, 1.0) - 1.0, -50.0, 50.0))  # where the derivative is 0
    furthest_gain = predicted(limit, alpha, beta)
    peak = np.where(turns, np.minimum(top, limit), np.where(furthest_gain > 0, limit, 0.0))
    here = predicted(at, alpha, beta)
    best = np.maximum(np.maximum(predicted(np.minimum(peak, at), alpha, beta), here), 0.0)
    lost = np.where(best > 0, (best - here) / np.where(best > 0, best, 1.0), here < 0)
    return alpha, beta, peak**2, np.clip(lost, 0.0, 1.0)
