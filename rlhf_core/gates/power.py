"""What a verdict could have seen: the difference that a sample shows, the sample that a difference needs, and luck."""

import math
from statistics import NormalDist

NORMAL = NormalDist()

POWER = 0.8
"""Chance with which a difference that is there is to be seen."""

SIDE = NORMAL.inv_cdf(0.975)
"""Standard errors from a figure to an end of its 95 % interval."""


def detectable(half: float) -> float:
    """How far from a threshold a figure must truly lie for its bound to be beyond it with a chance of `POWER`.

    A figure with normal errors of standard deviation s has its bound 1.96 s from its value; so that the bound is beyond
    the threshold with this chance, the truth must lie another z s away, z being that quantile of a standard normal (the
    minimum detectable effect of Bloom, 1995, 'Minimum detectable effects').

    Args:
        half: distance from the figure to the end of its 95 % interval that is judged, in the figure's unit.
    """
    return half * (1.0 + NORMAL.inv_cdf(POWER) / SIDE)


def samples_needed(n: int, seen: float, wanted: float) -> int:
    """Samples with which a difference is detectable, as the error of a figure falls with their root.

    Args:
        n: samples that were there.
        seen: what they make detectable.
        wanted: what shall be, in the same unit, above 0.
    """
    return math.ceil(n * (seen / wanted) ** 2)


def chance_of_luck(value: float, bound: float, threshold: float) -> float:
    """Chance that another sample of the same size turns a verdict, if the truth is what this one measured.

    Args:
        value: measured.
        bound: end of its 95 % interval that is judged.
        threshold: what it is held against.

    Returns:
        At most .5 where the bound and the value lie on one side of the threshold; 0 for an exact figure.
    """
    error = abs(value - bound) / SIDE
    return NORMAL.cdf(-abs(bound - threshold) / error) if error else 0.0
