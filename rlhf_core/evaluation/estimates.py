"""A figure with its sample size and its 95 % interval."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats


class Estimate(NamedTuple):
    """A measured value, its 95 % confidence interval and the number of samples behind it."""

    value: float
    lower: float
    upper: float
    n: int


def proportion(successes: int, n: int) -> Estimate:
    """Share of successes with its Wilson score interval (Wilson, 1927).

    Args:
        successes: count of successes, 0 to n.
        n: count of trials, at least 1.

    Returns:
        The share, unitless, in [0, 1].

    Raises:
        ValueError: if n is below 1 or successes is outside [0, n].
    """
    if n < 1:
        raise ValueError("a proportion needs at least one trial")
    interval = stats.binomtest(successes, n).proportion_ci(method="wilson")
    return Estimate(successes / n, float(interval.low), float(interval.high), n)


def mean(values: ArrayLike, *, resamples: int = 2000, seed: int = 0) -> Estimate:
    """Mean with its percentile bootstrap interval (Efron, 1979).

    Args:
        values: samples, shape ``[N]``.
        resamples: bootstrap resamples.
        seed: seed of the resampling, so that a figure is reproducible.

    Returns:
        The mean, in the unit of the samples.

    Raises:
        ValueError: if there is no sample.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.size == 0:
        raise ValueError("a mean needs at least one sample")
    if sample.size == 1 or np.ptp(sample) == 0.0:
        return point(float(sample.mean()), int(sample.size))
    interval = stats.bootstrap(
        (sample,), np.mean, n_resamples=resamples, method="percentile", rng=np.random.default_rng(seed), batch=200
    ).confidence_interval
    return Estimate(float(sample.mean()), float(interval.low), float(interval.high), int(sample.size))


def point(value: float, n: int) -> Estimate:
    """An exact figure, or one without sampling error: the interval is the value."""
    return Estimate(value, value, value, n)
