"""Evidence against raters that holds however often one looks: of answering at random, of liking length."""

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

FALSE_ALARMS = 0.05
"""Chance that any honest rater is ever said to answer at random, or to like length, however often one looks."""

RATERS = 50
"""Raters among whom that chance is divided; where there are more, as many as there are."""

HONEST = 1 / 3
"""A rater is honest who casts no more than this share of his votes by a coin, and the others by what others see too."""

LEAST_OTHERS = 2
"""Others that a rater must share pairs with: of two who disagree nobody knows which one is at fault."""

LIKING = 0.05
"""A rater who chooses the longer response no more often than this beyond the others is not said to like length."""

STAKE = 0.4
"""Of the capital that is bet on a liking of length for each vote."""

MOST_STAKES = 2
"""A group is bet on as often as the rater judged pairs of it, and so often at most, so that no capital is ever lost."""


class RaterVotes(NamedTuple):
    """Votes on pairs, V of them, in any order.

    Attributes:
        names: the raters.
        raters: who voted, as a position among the names, -1 for nobody known; shape ``[V]``.
        pairs: a number of the pair, shape ``[V]``.
        groups: a hash of what is drawn together, such as the prompt, shape ``[V]``.
        sides: 1 for the first response, -1 for the second, 0 for a tie, shape ``[V]``. Which response is first must not
            depend on the votes.
        longer: 1 where the first response has more words, -1 where the second has, 0 elsewhere, shape ``[V]``.
    """

    names: Sequence[str]
    raters: NDArray[np.int64]
    pairs: NDArray[np.int64]
    groups: NDArray[np.int64]
    sides: NDArray[np.int64]
    longer: NDArray[np.int64]

    def only(self, which: NDArray[np.bool_]) -> "RaterVotes":
        """Some of the votes."""
        return RaterVotes(self.names, *(column[which] for column in self[1:]))


class OtherVotes(NamedTuple):
    """Votes of the others on the pair of each vote; shape ``[V]`` each.

    Attributes:
        same: how many say what the vote says.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    tied: NDArray[np.int64]
    same: NDArray[np.int64]

    @property
    def strict(self) -> NDArray[np.int64]:
        """Votes that prefer a response."""
        return self.first + self.second


def at_random(votes: RaterVotes) -> dict[str, float]:
    """Raters of whom it is shown that they are not honest, with the logarithm of the evidence.

    The one with the most evidence is named first, and the others are judged without his votes, as whoever shares pairs
    with him seems to disagree with people.
    """
    bar = math.log(needed(votes))
    shown: dict[str, float] = {}
    while len(votes.raters):
        evidence = honesty_evidence(votes)
        worst = int(np.argmax(evidence)) if len(evidence) else -1
        if worst < 0 or evidence[worst] < bar:
            break
        shown[votes.names[worst]] = float(evidence[worst])
        votes = without(votes, [votes.names[worst]])
    return shown


def without(votes: RaterVotes, names: Collection[str]) -> RaterVotes:
    """All votes but those of some raters, whose names stay in their place."""
    return votes.only(~np.isin(votes.raters, [votes.names.index(name) for name in names]))


def needed(votes: RaterVotes) -> float:
    """The e-value that is enough for a verdict on one of so many raters."""
    return max(len(votes.names), RATERS) / FALSE_ALARMS


def honesty_evidence(votes: RaterVotes) -> NDArray[np.float64]:
    """Logarithm of an e-value against each rater's honesty, shape ``[R]``; 0 where nothing is known.

    Given what k others said of a pair, n of them as the rater did, an honest person says so too with probability
    q = (a + n) / (2 a + k), where the share of people who prefer a response is from a symmetric Beta(a, a) over the
    pairs; a is that by which two others agree as often as they do, (1 - A) / (2 A - 1). Who casts a share of his votes
    by a coin says so with q', as far between q and 1/2. A vote bets at odds (1/2) / q' for the most careless of honest
    raters, `HONEST`: on average 1 at most for any honest one, and more for a coin. Bets on the pairs of a group are
    averaged, whatever goes together there, with a larger stake on the mean of several, and multiplied over groups. By
    Ville's inequality (1939) an honest rater ever gets to x with a chance of 1 / x at most, however often one looks
    (Ramdas et al., 2023, 'Game-theoretic statistics and safe anytime-valid inference').

    a is an estimate, and votes on a pair that was looked at before may still come in: neither is of the theorem.
    """
    count = len(votes.names)
    others = other_votes(votes)
    known = (votes.raters >= 0) & (votes.sides != 0) & (others.strict > 0)
    mine, same, strict = votes.raters[known], others.same[known], others.strict[known]
    agreement = _agreement_of_others(votes, others, count)
    can = (agreement > 0.5) & (_partners(votes) >= LEAST_OTHERS)
    a = np.where(can, (1 - agreement) / np.where(can, 2 * agreement - 1, 1.0), 0.0)[mine]
    honest = np.divide(a + same, 2 * a + strict)
    bets = 0.5 / (0.5 + (1 - HONEST) * (honest - 0.5))
    return np.asarray(np.where(can, _capital(bets, mine, votes.groups[known], count), 0.0))


def other_votes(votes: RaterVotes) -> OtherVotes:
    """What the others said of the pair of each vote."""
    members = np.unique(votes.pairs, return_inverse=True)[1]
    size = int(members.max(initial=-1)) + 1
    first, second, tied = (
        np.bincount(members[votes.sides == side], minlength=size)[members] - (votes.sides == side)
        for side in (1, -1, 0)
    )
    return OtherVotes(first, second, tied, np.select([votes.sides == 1, votes.sides == -1], [first, second], tied))


def _agreement_of_others(votes: RaterVotes, others: OtherVotes, count: int) -> NDArray[np.float64]:
    """How often two votes of other raters on a pair agree, for each rater; shape ``[R]``."""
    strict = votes.sides != 0
    own = np.where(votes.raters < 0, count, votes.raters)[strict]
    agreeing = np.bincount(own, weights=others.same[strict], minlength=count + 1)
    couples = np.bincount(own, weights=others.strict[strict], minlength=count + 1)
    # every couple is counted for both of its votes, and with the rater's own it goes twice
    left, of = (numbers.sum() - 2 * numbers[:count] for numbers in (agreeing, couples))
    return np.asarray(np.divide(left, of, out=np.zeros(count), where=of > 0))


def _partners(votes: RaterVotes) -> NDArray[np.int64]:
    """Others that each rater shares a pair with; one whose name is not known may be anybody; shape ``[R]``."""
    count = len(votes.names)
    members = np.unique(votes.pairs, return_inverse=True)[1]
    at = (members, np.where(votes.raters < 0, count, votes.raters))
    cast = csr_array((np.ones(len(members)), at), shape=(int(members.max(initial=-1)) + 1, count + 1))
    shared = (cast.T @ cast).toarray()[:count]
    known = shared[:, :count] > 0
    return np.asarray(known.sum(axis=1) - known.diagonal() + shared[:, count], dtype=np.int64)


def _capital(
    bets: NDArray[np.float64], raters: NDArray[np.int64], groups: NDArray[np.int64], count: int
) -> NDArray[np.float64]:
    """Sum over groups of the logarithm of what a bet on the mean of a group brings, for each rater; shape ``[R]``.

    A mean of several bets spreads less than one bet, so that more of it may be staked. Whatever the stake, and however
    the pairs of a group go together, what is 1 at most on average stays so.
    """
    keys, members = np.unique(np.column_stack([raters, groups]), axis=0, return_inverse=True)
    members = members.ravel()
    sizes = np.bincount(members)
    gains = np.bincount(members, weights=bets) / sizes - 1
    stakes = np.minimum(sizes, MOST_STAKES)
    brought = np.log1p(stakes * gains)
    return np.asarray(np.bincount(keys[:, 0], weights=brought, minlength=count), dtype=np.float64)


def length_evidence(votes: RaterVotes) -> NDArray[np.float64]:
    """Logarithm of an e-value against each rater's liking length no more than the others do; shape ``[R]``.

    Of each group `STAKE` of the capital is bet on an excess above `LIKING` (Waudby-Smith and Ramdas, 2024, 'Estimating
    means of bounded random variables by betting').
    """
    known, excess = excess_length(votes, other_votes(votes))
    bets = 1 + STAKE * (excess - LIKING)
    return _capital(bets, votes.raters[known], votes.groups[known], len(votes.names))


def excess_length(votes: RaterVotes, others: OtherVotes) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Which votes tell of length, and for each 1 for the longer response less the share of the others who chose it."""
    known = (votes.raters >= 0) & (votes.sides != 0) & (others.strict > 0) & (votes.longer != 0)
    agreed = others.same[known] / others.strict[known]
    longer = votes.sides[known] == votes.longer[known]
    return known, np.where(longer, 1 - agreed, -(1 - agreed))
