"""What the labels are worth: the agreement that even a perfect judge cannot pass."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

LEAST_VOTES = 3

_LOG_CONCENTRATION = (-7.0, 9.0)

_HALF_CHI_SQUARE_95 = float(stats.chi2.ppf(0.95, df=1)) / 2


class Ceiling(NamedTuple):
    """Accuracy of a perfect judge against one annotator's label, its 95 % interval, and the pairs behind it."""

    value: float
    lower: float
    upper: float
    n: int


def agreement_ceiling(votes_chosen: Sequence[int], votes_rejected: Sequence[int]) -> Ceiling | None:
    """Accuracy that a perfect judge would reach against single labels, estimated from pairs with several votes.

    Annotators prefer the first of two responses with a probability p that differs by pair. A judge who always names
    the likelier response is right with probability max(p, 1 - p), so the ceiling is E[max(p, 1 - p)]. Each pair's own
    majority share overstates it, since the majority is partly chance. Instead p is taken to follow a symmetric
    Beta(a, a), fitted to the counts by maximum likelihood (beta-binomial, empirical Bayes; which response is called
    chosen does not matter, as the density is symmetric). Then E[max(p, 1 - p)] = P(Beta(a + 1, a) > 1/2). The interval
    is that of the profile likelihood in a (Wilks, 1938), so it covers sampling error, not a wrong shape.

    Bias: the shape is assumed; where p = sigma(delta) with normal delta the estimate is within .01 of the truth. The
    pairs with several votes must be a random subset: files cleaned of disagreement give too high a ceiling. Against
    the majority of several votes a judge can reach more than this.

    Args:
        votes_chosen: annotators for the chosen response of each pair, shape ``[N]``.
        votes_rejected: annotators for the rejected response, shape ``[N]``.

    Returns:
        The ceiling over the pairs with at least 3 votes; None where there are none, as then it cannot be known.

    Raises:
        ValueError: if the lengths differ or a count is negative.
    """
    chosen, totals, repeats = _tabulate(votes_chosen, votes_rejected)
    if not len(repeats):
        return None

    def log_likelihood(log_a: float) -> float:
        a = np.exp(log_a)
        return float(repeats @ stats.betabinom.logpmf(chosen, totals, a, a))

    best, smallest, largest = _profile(log_likelihood)
    # annotators who agree have a small concentration, hence the high end of the ceiling
    lower, upper = _expected_majority(largest), _expected_majority(smallest)
    return Ceiling(_expected_majority(best), lower, upper, n=int(repeats.sum()))


def _tabulate(
    votes_chosen: Sequence[int], votes_rejected: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Distinct (votes for chosen, all votes) among pairs with enough votes, and how many pairs have them."""
    if any(count < 0 for count in (*votes_chosen, *votes_rejected)):
        raise ValueError("a count of votes is negative")
    counts = Counter(
        (int(a), int(a + b)) for a, b in zip(votes_chosen, votes_rejected, strict=True) if a + b >= LEAST_VOTES
    )
    chosen, totals = np.array(list(counts), dtype=np.int64).reshape(-1, 2).T
    return chosen, totals, np.array(list(counts.values()), dtype=np.int64)


def _profile(log_likelihood: Callable[[float], float]) -> tuple[float, float, float]:
    """The log concentration that fits best and the ends of its 95 % interval, within the range that is searched."""
    low, high = _LOG_CONCENTRATION
    best = float(optimize.minimize_scalar(lambda x: -log_likelihood(x), bounds=(low, high), method="bounded").x)
    target = log_likelihood(best) - _HALF_CHI_SQUARE_95

    def interval_end(edge: float) -> float:
        if log_likelihood(edge) >= target:
            return edge
        return float(optimize.brentq(lambda x: log_likelihood(x) - target, *sorted((best, edge))))

    return best, interval_end(low), interval_end(high)


def _expected_majority(log_a: float) -> float:
    """E[max(p, 1 - p)] for p from Beta(a, a): twice the part above one half, by p Beta(a, a) = Beta(a + 1, a) / 2."""
    a = np.exp(log_a)
    return float(stats.beta.sf(0.5, a + 1, a))
