"""Label noise: the agreement with people that even a perfect judge cannot pass."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from rlhf_core.metrics.estimates import Estimate

LEAST_VOTES = 3

_LOG_CONCENTRATION = (-7.0, 9.0)

_HALF_CHI_SQUARE_95 = float(stats.chi2.ppf(0.95, df=1)) / 2


def agreement_ceiling(
    votes_chosen: Sequence[int], votes_rejected: Sequence[int], *, judged_votes: Sequence[int] | None = None
) -> Estimate | None:
    """Accuracy that a perfect judge would reach against labels that are majorities of so many votes.

    Annotators prefer the first of two responses with a probability p that differs by pair. A judge who always names
    the likelier response is right about a single label with probability max(p, 1 - p), and about a majority more often,
    as it is less of chance. Each pair's own majority share overstates both. Instead p is taken to follow a symmetric
    Beta(a, a), fitted to the counts by maximum likelihood (beta-binomial, empirical Bayes; which response is called
    chosen does not matter, as the density is symmetric). Where no pair of so many votes is a tie, though it could be,
    ties were left out, and the likelihood is that of counts which are none. The interval is that of the profile
    likelihood in a (Wilks, 1938), pairs being taken as independent, so it covers sampling error, not a wrong shape.

    Bias: the shape is assumed; where p = sigma(delta) with normal delta the estimate is within .01 of the truth for
    single labels. The pairs with several votes must be a random subset: files cleaned of disagreement give too high a
    ceiling.

    Args:
        votes_chosen: annotators for the chosen response of each pair, shape ``[N]``.
        votes_rejected: annotators for the rejected response, shape ``[N]``.
        judged_votes: votes behind each label that a judge is held against, those for neither left out, shape ``[M]``;
            ones for single labels, 0 for one that chance decided, as the votes are a tie. The labels are those of the N
            pairs themselves, as if none of them were a tie, unless given.

    Returns:
        The mean over the judged labels, 1/2 for one that chance decided. n counts the pairs with at least 3 votes,
        which the fit is of. None where there are none, or nothing is judged, as then it cannot be known.

    Raises:
        ValueError: if the lengths differ or a count is negative.
    """
    chosen, totals, repeats = _tabulate(votes_chosen, votes_rejected)
    own = [a + b for a, b in zip(votes_chosen, votes_rejected, strict=True) if a + b]
    judged = Counter(own if judged_votes is None else judged_votes)
    if not len(repeats) or not judged:
        return None

    without_ties = (totals % 2 == 0) & ~np.isin(totals, totals[2 * chosen == totals])

    def log_likelihood(log_a: float) -> float:
        a = np.exp(log_a)
        kept = 1.0 - np.where(without_ties, stats.betabinom.pmf(totals // 2, totals, a, a), 0.0)
        return float(repeats @ (stats.betabinom.logpmf(chosen, totals, a, a) - np.log(kept)))

    best, smallest, largest = _profile(log_likelihood)
    # annotators who agree have a small concentration, hence the high end of the ceiling
    value, lower, upper = (_mean_accuracy(judged, log_a) for log_a in (best, largest, smallest))
    return Estimate(value, lower, upper, n=int(repeats.sum()))


def ceilings(
    votes_chosen: Sequence[int], votes_rejected: Sequence[int], held_out_votes: Sequence[int]
) -> dict[str, Estimate]:
    """What a perfect judge would agree with, where pairs with several votes can tell.

    Args:
        votes_chosen: as of `agreement_ceiling`.
        votes_rejected: as of `agreement_ceiling`.
        held_out_votes: votes behind each held-out label, 0 where they are even.

    Returns:
        `ceiling`, against one annotator, and `held_out_ceiling`, against the held-out labels, each the majority of its
        votes; what cannot be known is left out.
    """
    judged = {"ceiling": [1], "held_out_ceiling": held_out_votes}
    return {
        name: ceiling
        for name, votes in judged.items()
        if (ceiling := agreement_ceiling(votes_chosen, votes_rejected, judged_votes=votes))
    }


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


def _mean_accuracy(judged: Mapping[int, int], log_a: float) -> float:
    """Mean accuracy of a perfect judge over labels, given how many are majorities of so many votes."""
    accuracies = [_accuracy(votes, np.exp(log_a)) for votes in judged]
    return float(np.average(accuracies, weights=list(judged.values())))


def _accuracy(votes: int, a: float) -> float:
    """Chance that the majority of votes names the likelier response, p being from Beta(a, a), given that it is no tie.

    1/2 where there are no votes.
    Of j votes for a response, p is from Beta(a + j, a + votes - j), and the response is the likelier one where p > 1/2.
    For one vote that is P(Beta(a + 1, a) > 1/2) = E[max(p, 1 - p)].
    """
    if votes == 0:
        return 0.5
    majorities = np.arange(votes // 2 + 1, votes + 1)
    chances = stats.betabinom.pmf(majorities, votes, a, a)
    return float(np.average(stats.beta.sf(0.5, a + majorities, a + votes - majorities), weights=chances))
