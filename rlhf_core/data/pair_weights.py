"""Weights of preference pairs: so that length alone tells nothing, or so that every prompt counts alike."""

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rlhf_core.config.reward_model import Balance
from rlhf_core.data.records import Pair


def both_ways(pairs: Sequence[Pair]) -> list[Pair]:
    """Turn each pair whose votes were divided into two that share its weight, one in each direction.

    With p the share of the preferred one and x the difference of the scores less the margin, the two have the loss
    -p log sigmoid(x) - (1 - p) log sigmoid(-x), the cross-entropy to the votes, which is least at x = log(p / (1 - p)).
    A pair that counts once counts once still; all weights are raised alike, so that their mean stays.

    Args:
        pairs: what something is trained on.

    Returns:
        Pairs in their order, each followed by its other direction where that got votes.
    """
    turned = [way for pair in pairs for way in _ways(pair)]
    factor = len(turned) / max(len(pairs), 1)
    return [way._replace(weight=way.weight * factor) for way in turned]


def _ways(pair: Pair) -> list[Pair]:
    if pair.share == 1.0:
        return [pair]
    other = pair._replace(chosen=pair.rejected, rejected=pair.chosen, margin=-pair.margin)
    return [
        pair._replace(weight=pair.weight * pair.share, share=1.0),
        other._replace(weight=pair.weight * (1.0 - pair.share), share=1.0),
    ]


STRATA = 10

LARGEST_WEIGHT = 10
"""Fewer strata are cut rather than give a pair more."""


class CannotBalance(ValueError):
    """Pairs that no weight can balance."""


def balance(pairs: Sequence[Pair], how: Balance) -> list[Pair]:
    """Weigh or drop pairs so that the chosen response is longer in words in one half of those of unequal length.

    Pairs are put into strata by how much their lengths differ, of about equal size, ten or as many as have enough pairs
    of both kinds. In every stratum the pairs with the longer response chosen get the weight of the others, so that
    neither who is longer nor by how much says which response was chosen.

    Args:
        pairs: what something is trained on.
        how: `length` multiplies weights, whose mean stays; `length-drop` drops from the larger side of each stratum the
            pairs that a hash of their texts names; `none` changes nothing.

    Returns:
        Pairs in their order; those of equal length are left alone.

    Raises:
        CannotBalance: if the longer response was always chosen, or never.
    """
    if how == "none":
        return list(pairs)
    longer = np.array([len(pair.chosen.split()) - len(pair.rejected.split()) for pair in pairs], dtype=np.int64)
    digests = [_digest(pair) for pair in pairs]
    factors = np.ones(len(pairs))
    for stratum in _strata(longer):
        sides = [stratum[longer[stratum] > 0], stratum[longer[stratum] < 0]]
        for side in sides:
            if how == "length":
                factors[side] = len(stratum) / (2 * len(side))
            else:
                factors[sorted(side, key=digests.__getitem__)[min(map(len, sides)) :]] = 0.0
    return [
        pair._replace(weight=pair.weight * float(factor))
        for pair, factor in zip(pairs, factors, strict=True)
        if factor > 0.0
    ]


def weigh_by_prompt(pairs: Sequence[Pair]) -> list[Pair]:
    """Weigh pairs so that each prompt counts alike, however many responses of it were ranked.

    Of K ranked responses there are K (K - 1) / 2 pairs, and Ouyang et al. (2022), equation 1, divides their loss by
    that number. All pairs of a prompt are in one optimiser step here, as theirs are.

    Args:
        pairs: what something is trained on.

    Returns:
        Pairs in their order; the mean of the factors is 1.
    """
    counts = Counter(pair.prompt for pair in pairs)
    mean = len(pairs) / max(len(counts), 1)
    return [pair._replace(weight=pair.weight * mean / counts[pair.prompt]) for pair in pairs]


def _strata(longer: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Positions of the pairs of unequal length, in strata with enough of both kinds; none parts equal differences."""
    unequal = np.flatnonzero(longer)
    if not len(unequal):
        return []
    sizes = np.abs(longer[unequal])
    for count in range(STRATA, 0, -1):
        edges = np.quantile(sizes, np.linspace(0.0, 1.0, count + 1)[1:-1])
        bins = np.searchsorted(edges, sizes, side="right")
        strata = [unequal[bins == index] for index in np.unique(bins)]
        shares = [float((longer[stratum] > 0).mean()) for stratum in strata]
        rarest = min(min(share, 1.0 - share) for share in shares)
        if rarest >= 0.5 / LARGEST_WEIGHT or (count == 1 and rarest > 0.0):
            return strata
    raise CannotBalance(
        f"of the {len(unequal)} training pairs of unequal length the {'longer' if longer.max() > 0 else 'shorter'} "
        "response was chosen in all: nothing can balance them by length; set balance to none"
    )


def _digest(pair: Pair) -> bytes:
    return hashlib.sha256("\0".join((pair.prompt, pair.chosen, pair.rejected)).encode()).digest()
