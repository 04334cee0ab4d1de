"""Pairs on which annotators were divided, as labels that are neither 0 nor 1."""

from collections.abc import Sequence

from rlhf_core.records import Pair


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
