"""What the curves of climbs say: gold at one and the same KL, the peak, what a stop kept of it, spread over seeds.

A curve is the list of a run's evaluations on watched prompts, the first of which is the SFT model itself; d = sqrt(KL)
is the distance from the SFT model at which Gao et al. (2023) compare runs.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Point = dict[str, Any]
Curve = Sequence[Point]


class Spread(NamedTuple):
    """A figure over seeds: median, smallest, largest and how many seeds have it."""

    median: float
    low: float
    high: float
    n: int


class Kept(NamedTuple):
    """What a stop kept of a run that would have gone on.

    Attributes:
        gain: gold over the SFT model in the state that is the result.
        peak: the largest gain of gold of the run without the stop.
        peak_nats: KL at which that was.
        share: gain over peak; None where gold never rose, so that there is nothing to keep.
    """

    gain: float
    peak: float
    peak_nats: float
    share: float | None


def spread(values: Iterable[float]) -> Spread | None:
    """Median and range of a figure over seeds; None without any."""
    found = np.fromiter(values, dtype=np.float64)
    return Spread(float(np.median(found)), float(found.min()), float(found.max()), len(found)) if len(found) else None


def distances(curve: Curve) -> NDArray[np.float64]:
    """sqrt(KL) of each evaluation, shape ``[E]``; a mean log-ratio that is below 0 by chance counts as 0."""
    return np.sqrt(np.maximum([point["kl"] for point in curve], 0.0))


def gains(curve: Curve, name: str = "gold") -> NDArray[np.float64]:
    """A figure of each evaluation less that of the SFT model, shape ``[E]``."""
    return np.array([point[name] - curve[0][name] for point in curve], dtype=np.float64)


def gain_at(curve: Curve, nats: ArrayLike, name: str = "gold") -> NDArray[np.float64]:
    """Gain over the SFT model where a run first passes a KL, linear in d between the evaluations around it.

    Args:
        curve: of a run.
        nats: K KLs, shape ``[K]``.
        name: of the figure.

    Returns:
        Shape ``[K]``; NaN for a KL that the run did not reach.
    """
    d, gain = distances(curve), gains(curve, name)
    furthest = np.maximum.accumulate(d)  # the first evaluation at or beyond a distance is the first of these
    found = []
    for target in np.sqrt(np.atleast_1d(np.asarray(nats, dtype=np.float64))):
        after = int(np.searchsorted(furthest, target))
        if after == len(d):
            found.append(math.nan)
        elif after == 0:
            found.append(gain[0])
        else:
            part = (target - d[after - 1]) / (d[after] - d[after - 1])
            found.append(gain[after - 1] + part * (gain[after] - gain[after - 1]))
    return np.array(found)


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> list[float]:
    """First less second for every seed that has both, in the order of the seeds; NaN counts as absent."""
    shared = sorted(first.keys() & second.keys())
    differences = [first[seed] - second[seed] for seed in shared]
    return [difference for difference in differences if not math.isnan(difference)]


def peak(curve: Curve) -> Point:
    """The evaluation at which gold is largest, the first of several."""
    return curve[int(np.argmax(gains(curve)))]


def kept(free: Curve, result: Point) -> Kept:
    """What a state keeps of the gain that gold reaches in the run without a stop.

    Args:
        free: of the run that nothing stopped.
        result: the evaluation of the state that is the result of the stopped run.
    """
    best, start = peak(free), float(free[0]["gold"])
    gain, most = float(result["gold"]) - start, float(best["gold"]) - start
    return Kept(gain, most, float(best["kl"]), gain / most if most > 0 else None)


def within_budget(curve: Curve, nats: float) -> Point:
    """The state that `kl_budget_nats` would have kept of a run: the last one before an upper bound that is not within.

    Training does not know of the budget until it stops for it, so that a run with one is the start of that without.
    """
    for before, now in itertools.pairwise(curve):
        if not now["kl_upper"] <= nats:
            return before
    return curve[-1]
