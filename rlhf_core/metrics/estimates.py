"""A figure with its sample size and its 95 % interval."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 1000
"""Bootstrap resamples behind every interval."""

_NORMAL_95 = 1.959964


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
    interval = scipy.stats.binomtest(successes, n).proportion_ci(method="wilson")
    return Estimate(successes / n, float(interval.low), float(interval.high), n)


def mean(values: ArrayLike) -> Estimate:
    """Mean with its percentile bootstrap interval (Efron, 1979).

    Args:
        values: samples, shape ``[N]``.

    Returns:
        The mean, in the unit of the samples.

    Raises:
        ValueError: if there is no sample.
    """
    return bootstrap(lambda sample, axis: sample.mean(axis=axis), np.asarray(values, dtype=np.float64))


def bootstrap(statistic: Callable[..., Any], *samples: NDArray[np.float64]) -> Estimate:
    """A statistic of paired samples with its percentile bootstrap interval (Efron, 1979).

    Args:
        statistic: called with the samples and `axis`, the axis of the observations; vectorised.
        samples: one or more arrays of shape ``[N]``, resampled together.

    Returns:
        The statistic with its interval; the resampling is seeded, so that a figure is reproducible.

    Raises:
        ValueError: if there is no sample.
    """
    count = len(samples[0])
    if count == 0:
        raise ValueError("a figure needs at least one sample")
    value = float(statistic(*samples, axis=-1))
    if all(np.ptp(sample) == 0.0 for sample in samples):
        return point(value, count)
    interval = scipy.stats.bootstrap(
        samples,
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
        batch=200,
    ).confidence_interval
    return Estimate(value, float(interval.low), float(interval.high), count)


def clustered(statistic: Callable[..., Any], clusters: ArrayLike, *samples: NDArray[Any]) -> Estimate:
    """As `bootstrap` for observations that come in clusters, such as the pairs of one prompt: clusters are resampled.

    Args:
        statistic: called with weights and samples, all of shape ``[N]``, where a weight says how often the observation
            was drawn; for example `weighted_mean`.
        clusters: label of each observation's cluster, shape ``[N]``.
        samples: one or more arrays of shape ``[N]``.

    Returns:
        The statistic with its interval; n counts observations.

    Raises:
        ValueError: if there is no sample.
    """
    count = len(samples[0])
    if count == 0:
        raise ValueError("a figure needs at least one sample")
    _, members = np.unique(np.asarray(clusters), return_inverse=True)
    rng = np.random.default_rng(0)
    size = int(members.max()) + 1
    draws = (np.bincount(rng.integers(size, size=size), minlength=size) for _ in range(RESAMPLES))
    resampled = [float(statistic(draw[members].astype(np.float64), *samples)) for draw in draws]
    lower, upper = np.quantile(resampled, [0.025, 0.975])
    return Estimate(float(statistic(np.ones(count), *samples)), float(lower), float(upper), count)


def jackknife(value: float, left_out: ArrayLike) -> Estimate:
    """A statistic with the normal interval of its jackknife variance (Efron and Stein, 1981).

    For statistics such as shares of distinct things, which a bootstrap would see repeated.

    Args:
        value: of all N samples.
        left_out: the statistic without each of them in turn, shape ``[N]``.

    Returns:
        The statistic with its interval, which may leave the range of the statistic; a point for a single sample.
    """
    values = np.asarray(left_out, dtype=np.float64)
    spread = _NORMAL_95 * float(np.sqrt((len(values) - 1) * np.var(values)))
    return Estimate(value, value - spread, value + spread, len(values))


def difference(first: Estimate, second: Estimate) -> Estimate:
    """First less second, two figures of different samples, by the intervals of both (Zou and Donner, 2008, equation 3).

    Args:
        first: a figure.
        second: an independent one in the same unit.

    Returns:
        The difference; n is the smaller of both.
    """
    value = first.value - second.value
    down = float(np.hypot(first.value - first.lower, second.upper - second.value))
    up = float(np.hypot(first.upper - first.value, second.value - second.lower))
    return Estimate(value, value - down, value + up, min(first.n, second.n))


def weighted_mean(weights: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Mean of the values, each counted as often as its weight says."""
    return float(np.average(values, weights=weights))


def point(value: float, n: int) -> Estimate:
    """An exact figure, or one without sampling error: the interval is the value."""
    return Estimate(value, value, value, n)
