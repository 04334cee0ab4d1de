"""Raters one by one: agreement with the others, accuracy, liking of length, and whether one answers at random."""

import math
import warnings
from collections.abc import Container, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlhf_core.config import Frozen
from rlhf_core.metrics.annotator_agreement import kappa_of_couples
from rlhf_core.metrics.estimates import Estimate, clustered, mean, share
from rlhf_core.metrics.rater_evidence import (
    FALSE_ALARMS,
    RATERS,
    OtherVotes,
    RaterVotes,
    at_random,
    excess_length,
    honesty_evidence,
    length_evidence,
    needed,
    other_votes,
    without,
)

LEAST_KNOWN = 30
"""Groups that a figure of a rater needs before it is worth saying."""

MOST_VOTES = 2000
"""Of a rater, for intervals; his verdict is of all."""

MOST_PAIRS = 20_000
"""For the model of Dawid and Skene, about a second."""

RANDOM, LIKES_LENGTH = "answers at random", "prefers longer responses"


class RaterFigures(Frozen):
    """What is known of a rater.

    Attributes:
        labels: votes.
        shared: those on pairs on which others voted too, ties left out.
        kappa: Cohen's kappa of this rater with the others on the same pairs.
        accuracy: chance of naming the better response, by the model of Dawid and Skene for one coin.
        longer: how much more often the longer response is chosen than by the others on the same pairs.
        gold: share of the questions with a known answer that were answered so.
        evidence: the e-value against honesty; `needed` of it is enough for a verdict.
        verdicts: `RANDOM` and `LIKES_LENGTH`, where that is shown.
        left_out: why no vote of the rater counts; empty where they count.
    """

    labels: int
    shared: int
    kappa: Estimate | None = None
    accuracy: float | None = None
    longer: Estimate | None = None
    gold: Estimate | None = None
    evidence: float = 1.0
    needed: float = RATERS / FALSE_ALARMS
    verdicts: tuple[str, ...] = ()
    left_out: str = ""


def measure_raters(votes: RaterVotes, gold: Mapping[int, int] | None = None) -> dict[str, RaterFigures]:
    """Figures and verdicts of every rater with a name.

    Args:
        votes: all votes so far.
        gold: by pair, the response that is known to be better: 1 the first, -1 the second.

    Returns:
        By name, in the order of the names.
    """
    random = at_random(votes)
    rest = without(votes, random)
    verdicts, evidence = _verdicts(rest, random), honesty_evidence(rest)
    seen, accuracies = _Seen.of(votes, gold or {}), one_coin_accuracies(votes)
    figures = {}
    for code, name in enumerate(votes.names):
        mine = np.flatnonzero(votes.raters == code)
        figures[name] = RaterFigures(
            labels=len(mine),
            shared=int((seen.others.strict[mine] > 0)[votes.sides[mine] != 0].sum()),
            accuracy=accuracies.get(name),
            evidence=math.exp(min(random.get(name, evidence[code]), 700.0)),
            needed=needed(votes),
            verdicts=verdicts[name],
            **seen.intervals(mine),
        )
    return figures


def verdicts_of(votes: RaterVotes) -> dict[str, tuple[str, ...]]:
    """The verdicts of every rater with a name, without any other figure."""
    random = at_random(votes)
    return _verdicts(without(votes, random), random)


def _verdicts(rest: RaterVotes, random: Container[str]) -> dict[str, tuple[str, ...]]:
    """By rater; those who answer at random have no votes among the rest."""
    like = length_evidence(rest) >= math.log(needed(rest))
    return {
        name: (RANDOM,) if name in random else (LIKES_LENGTH,) * bool(likes)
        for name, likes in zip(rest.names, like, strict=True)
    }


def one_coin_accuracies(votes: RaterVotes) -> dict[str, float]:
    """Chance of each rater to name the better response, by Dawid and Skene's model with one coin, of crowd-kit.

    The model (Zhang et al., 2016) takes all pairs to be equally hard, so that a rater of hard ones seems worse.
    """
    import pandas as pd  # noqa: PLC0415 as above
    from crowdkit.aggregation import OneCoinDawidSkene  # noqa: PLC0415 it takes seconds

    shared = (votes.sides != 0) & (votes.raters >= 0) & (other_votes(votes).strict > 0)
    kept = np.unique(votes.pairs[shared])[:MOST_PAIRS]
    taken = votes.only(shared & np.isin(votes.pairs, kept))
    if not len(taken.raters):
        return {}
    table = pd.DataFrame({"task": taken.pairs, "worker": taken.raters, "label": taken.sides})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of pandas, which crowd-kit has to heed
        skills = OneCoinDawidSkene(n_iter=50).fit(table).skills_
    return {votes.names[code]: float(skill) for code, skill in zip(skills.index.to_numpy(), skills, strict=True)}


class _Seen(NamedTuple):
    """Votes with what the others said, how far each is beyond them for the longer response, and gold answers.

    Attributes:
        excess: of each vote, shape ``[V]``; NaN where it tells nothing of length.
        answers: the side of the gold answer of each vote's pair, shape ``[V]``; 0 where none is known.
    """

    votes: RaterVotes
    others: OtherVotes
    excess: NDArray[np.float64]
    answers: NDArray[np.int64]

    @classmethod
    def of(cls, votes: RaterVotes, gold: Mapping[int, int]) -> "_Seen":
        others = other_votes(votes)
        known, beyond = excess_length(votes, others)
        excess = np.full(len(known), np.nan)
        excess[known] = beyond
        answers = np.array([gold.get(pair, 0) for pair in votes.pairs.tolist()] if gold else [0] * len(known))
        return cls(votes, others, excess, answers)

    def intervals(self, mine: NDArray[np.int64]) -> dict[str, Estimate]:
        """Kappa, liking of length and gold questions of a rater, as far as they can be said."""
        groups, sides = self.votes.groups, self.votes.sides
        some = mine[np.argsort(groups[mine], kind="stable")][:MOST_VOTES]
        told = some[(self.others.strict + self.others.tied)[some] > 0]
        longer = some[~np.isnan(self.excess[some])]
        asked = mine[self.answers[mine] != 0]
        figures: dict[str, Estimate] = {}
        if _enough(groups[told]):
            couples = _couples(sides[told], np.column_stack(self.others[:3])[told])
            figures["kappa"] = clustered(kappa_of_couples, groups[told], couples).within(-1.0, 1.0)
        if _enough(groups[longer]):
            figures["longer"] = mean(self.excess[longer], groups[longer]).within(-1.0, 1.0)
        if len(asked):
            figures["gold"] = share((sides[asked] == self.answers[asked]).astype(np.float64), groups[asked])
        return figures


def _enough(groups: ArrayLike) -> bool:
    return len(np.unique(groups)) >= LEAST_KNOWN


def _couples(sides: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.float64]:
    """The verdict of a rater beside those of the others on each pair, who share one vote; shape ``[N, 9]``.

    Args:
        sides: of the rater, shape ``[N]``.
        others: votes for the first, for the second and for neither, shape ``[N, 3]``.
    """
    own = np.select([sides == 1, sides == -1], [0, 1], 2)
    table = np.zeros((len(sides), 3, 3))
    table[np.arange(len(sides)), own] = others / others.sum(axis=1, keepdims=True)
    return table.reshape(len(sides), 9)
