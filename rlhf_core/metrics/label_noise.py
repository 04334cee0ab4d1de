"""Label noise: the agreement with people that even a perfect judge cannot pass."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from rlhf_core.metrics.estimates import Estimate, student_95

LEAST_VOTES = 3

Behind = int | tuple[int, ...]
"""Votes behind a label: how many, or what each of them counts where they count differently."""

_LOG_CONCENTRATION = (-7.0, 9.0)

_STEP = 1e-3
"""Of the log concentration, for the slope of the likelihood."""


def agreement_ceiling(
    votes_chosen: Sequence[int],
    votes_rejected: Sequence[int],
    *,
    groups: ArrayLike | None = None,
    judged_votes: Sequence[Behind] | None = None,
) -> Estimate | None:
    """Accuracy that a perfect judge would reach against labels that are majorities of so many votes.

    Annotators prefer the first of two responses with a probability p that differs by pair. A judge who always names
    the likelier response is right about a single label with probability max(p, 1 - p), and about a majority more often,
    as it is less of chance. Each pair's own majority share overstates both. Instead p is taken to follow a symmetric
    Beta(a, a), fitted to the counts by maximum likelihood (beta-binomial, empirical Bayes; which response is called
    chosen does not matter, as the density is symmetric). Where no pair of so many votes is a tie, though it could be,
    ties were left out, and the likelihood is that of counts which are none. The interval is that of the profile
    likelihood in a (Wilks, 1938), with Student's point for a normal one, widened by the design effect of groups: the
    variance of the score over groups to that over pairs (Rotnitzky and Jewell, 1990), 1 at least. It covers sampling
    error, not a wrong shape.

    Bias: the shape is assumed; where p = sigma(delta) with normal delta the estimate is within .01 of the truth for
    single labels. The pairs with several votes must be a random subset: files cleaned of disagreement give too high a
    ceiling.

    Args:
        votes_chosen: annotators for the chosen response of each pair, shape ``[N]``.
        votes_rejected: annotators for the rejected response, shape ``[N]``.
        groups: what is drawn together, such as the prompt, shape ``[N]``; each pair is its own unless given.
        judged_votes: votes behind each label that a judge is held against, those for neither left out, shape ``[M]``;
            ones for single labels, 0 for one that chance decided, as the votes are a tie. Where votes have weights, the
            weight of each: one vote of weight 3 is one person, and three that count 3, 1 and 1 say what the first says.
            The labels are those of the N pairs themselves, as if none of them were a tie, unless given.

    Returns:
        The mean over the judged labels, 1/2 for one that chance decided. n counts the groups of the pairs with at
        least 3 votes, which the fit is of; a single one has no interval. None where there are none, or nothing is
        judged, as then it cannot be known.

    Raises:
        ValueError: if the lengths differ or a count is negative.
    """
    counts = np.array(list(zip(votes_chosen, votes_rejected, strict=True)), dtype=np.int64).reshape(-1, 2)
    if (counts < 0).any():
        raise ValueError("a count of votes is negative")
    sizes = counts.sum(axis=1)
    judged: Counter[Behind] = Counter(sizes[sizes > 0].tolist() if judged_votes is None else judged_votes)
    fitted = sizes >= LEAST_VOTES
    if not fitted.any() or not judged:
        return None
    kinds, kind_of, repeats = np.unique(counts[fitted], axis=0, return_inverse=True, return_counts=True)
    chosen, totals = kinds[:, 0], kinds.sum(axis=1)
    without_ties = (totals % 2 == 0) & ~np.isin(totals, totals[2 * chosen == totals])

    def log_likelihoods(log_a: float) -> NDArray[np.float64]:
        a = np.exp(log_a)
        kept = 1.0 - np.where(without_ties, stats.betabinom.pmf(totals // 2, totals, a, a), 0.0)
        return np.asarray(stats.betabinom.logpmf(chosen, totals, a, a) - np.log(kept))

    best = _most_likely(lambda log_a: float(repeats @ log_likelihoods(log_a)))
    slopes = (log_likelihoods(best + _STEP) - log_likelihoods(best - _STEP)) / (2 * _STEP)
    together = np.arange(len(counts)) if groups is None else np.asarray(groups)
    effect, n = _design_effect(slopes[kind_of.ravel()], together[fitted])
    if n < 2:
        return Estimate(_mean_accuracy(judged, best), -np.inf, np.inf, n)
    drop = effect * student_95(n) ** 2 / 2
    smallest, largest = _interval(lambda log_a: float(repeats @ log_likelihoods(log_a)), best, drop)
    # annotators who agree have a small concentration, hence the high end of the ceiling
    value, lower, upper = (_mean_accuracy(judged, log_a) for log_a in (best, largest, smallest))
    return Estimate(value, lower, upper, n)


def ceilings(
    votes_chosen: Sequence[int],
    votes_rejected: Sequence[int],
    held_out_votes: Sequence[Behind],
    *,
    groups: ArrayLike | None = None,
) -> dict[str, Estimate]:
    """What a perfect judge would agree with, where pairs with several votes can tell.

    Args:
        votes_chosen: as of `agreement_ceiling`.
        votes_rejected: as of `agreement_ceiling`.
        held_out_votes: votes behind each held-out label, 0 where they are even, or their weights.
        groups: as of `agreement_ceiling`.

    Returns:
        `ceiling`, against one annotator, and `held_out_ceiling`, against the held-out labels, each the majority of its
        votes; what cannot be known is left out.
    """
    judged: dict[str, Sequence[Behind]] = {"ceiling": [1], "held_out_ceiling": held_out_votes}
    return {
        name: ceiling
        for name, votes in judged.items()
        if (ceiling := agreement_ceiling(votes_chosen, votes_rejected, groups=groups, judged_votes=votes))
    }


def _most_likely(log_likelihood: Callable[[float], float]) -> float:
    """The log concentration that fits best, within the range that is searched."""
    return float(optimize.minimize_scalar(lambda x: -log_likelihood(x), bounds=_LOG_CONCENTRATION, method="bounded").x)


def _interval(log_likelihood: Callable[[float], float], best: float, drop: float) -> tuple[float, float]:
    """Where the log likelihood has fallen by so much to either side of the best, within the range that is searched."""
    target = log_likelihood(best) - drop

    def interval_end(edge: float) -> float:
        if log_likelihood(edge) >= target:
            return edge
        return float(optimize.brentq(lambda x: log_likelihood(x) - target, *sorted((best, edge))))

    low, high = map(interval_end, _LOG_CONCENTRATION)
    return low, high


def _design_effect(scores: NDArray[np.float64], groups: ArrayLike) -> tuple[float, int]:
    """By how much the variance of a sum of scores, shape ``[N]``, is larger as groups go together; and their number."""
    members = np.unique(groups, return_inverse=True)[1]
    together, apart = np.bincount(members, weights=scores), float(scores @ scores)
    return max(float(together @ together) / apart, 1.0) if apart else 1.0, len(together)


def _mean_accuracy(judged: Mapping[Behind, int], log_a: float) -> float:
    """Mean accuracy of a perfect judge over labels, given how many are majorities of such votes."""
    accuracies = [_accuracy(votes, np.exp(log_a)) for votes in judged]
    return float(np.average(accuracies, weights=list(judged.values())))


def _accuracy(votes: Behind, a: float) -> float:
    """Chance that the majority of votes names the likelier response, p being from Beta(a, a), given that it is no tie.

    1/2 where there are no votes.
    Of j votes for a response, p is from Beta(a + j, a + votes - j), and the response is the likelier one where p > 1/2.
    For one vote that is P(Beta(a + 1, a) > 1/2) = E[max(p, 1 - p)]. All choices of j among the voters are equally
    likely, and where weights differ only some of them are a majority.
    """
    count = votes if isinstance(votes, int) else len(votes)
    if count == 0:
        return 0.5
    voters = np.arange(count + 1)
    shares = voters > count // 2 if isinstance(votes, int) else _winning(votes) / special.binom(count, voters)
    chances = stats.betabinom.pmf(voters, count, a, a) * shares
    return float(np.average(stats.beta.sf(0.5, a + voters, a + count - voters), weights=chances))


def _winning(weights: Sequence[int]) -> NDArray[np.float64]:
    """In how many choices of j voters they have more than half of all weight, by j from 0; shape ``[votes + 1]``."""
    total = sum(weights)
    ways = np.zeros((len(weights) + 1, total + 1))  # by voters and their weight
    ways[0, 0] = 1.0
    for weight in weights:
        ways[1:, weight:] += ways[:-1, : total + 1 - weight]
    return np.asarray(ways[:, total // 2 + 1 :].sum(axis=1))
