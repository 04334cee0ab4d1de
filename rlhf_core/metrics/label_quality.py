"""Label quality of preference pairs: annotator noise, and what is right without reading the prompt."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlhf_core.config import Frozen
from rlhf_core.config.reward_model import Balance
from rlhf_core.data.pair_weights import balance
from rlhf_core.data.records import Pair
from rlhf_core.metrics.agreement import bag_of_words_margins, rule_hits
from rlhf_core.metrics.annotator_agreement import agreement_figures
from rlhf_core.metrics.estimates import Estimate, share
from rlhf_core.metrics.label_sources import SourceFigures, measure_sources
from rlhf_core.metrics.surface_features import Effect, surface_effects


class Balanced(Frozen):
    """Pairs as something is trained on them.

    Attributes:
        pairs: how many are left.
        largest_weight: of one pair, where 1 is the mean.
        effects: surface features that still predict the label.
    """

    how: Balance
    pairs: int
    largest_weight: float
    effects: dict[str, Effect]


class LabelWorth(Frozen):
    """What is known of the labels of some pairs.

    Attributes:
        pairs: how many were looked at.
        total: how many there are.
        noise: what `agreement_figures` gives, `cohen_kappas` where votes carry names, and `ceilings` where they are
            known; empty where no pair has two votes.
        floors: agreement of trivial rules, the bag of words cross-validated by group.
        effects: surface features that predict the label.
        sources: what the labels of each source are like beside those of the others, as `measure_sources` says.
        balanced: the same after balancing, None where nothing is balanced, or can be.
    """

    pairs: int
    total: int
    noise: dict[str, Estimate]
    floors: dict[str, Estimate]
    effects: dict[str, Effect]
    sources: dict[str, SourceFigures] = {}
    balanced: Balanced | None


def label_worth(
    pairs: Sequence[Pair],
    groups: Sequence[str],
    noise: Mapping[str, Estimate],
    *,
    total: int | None = None,
    sources: Sequence[str] = (),
) -> LabelWorth:
    """Measure labelled pairs.

    Args:
        pairs: N pairs.
        groups: what is drawn together, such as the prompt, shape ``[N]``; a prompt lies in one group.
        noise: what is known of their annotators.
        total: how many pairs these stand for; N by default.
        sources: where each pair comes from, shape ``[N]``; nothing is said of them unless given.

    Returns:
        Every figure with its interval over groups; nothing is balanced.
    """
    margins = bag_of_words_margins([], pairs, groups)
    return LabelWorth(
        pairs=len(pairs),
        total=len(pairs) if total is None else total,
        noise=dict(noise),
        floors={name: share(hits, groups) for name, hits in rule_hits(pairs, margins).items()},
        effects=surface_effects(pairs, groups),
        sources=measure_sources(pairs, groups, sources, margins) if len(sources) else {},
        balanced=None,
    )


def counted_agreement(
    pairs: Sequence[Pair], groups: Sequence[str], votes: ArrayLike, *, even: Sequence[tuple[str, int]] = ()
) -> dict[str, Estimate]:
    """What `agreement_figures` says of counted votes, for which nobody knows who cast them.

    Args:
        pairs: N pairs.
        groups: what is drawn together, shape ``[N]``.
        votes: annotators for the chosen and for the rejected response, shape ``[N, 2]``.
        even: of pairs that are none of these, as each response got as many votes: their group, and how many each got.
    """
    counts = [*_by_response(pairs, np.asarray(votes)), *((count, count, 0) for _, count in even)]
    return agreement_figures(counts, [*groups, *(group for group, _ in even)])


def after_balance(pairs: Sequence[Pair], groups: Sequence[str], how: Balance) -> Balanced:
    """What balancing makes of pairs, and what predicts their labels then; arguments as for `label_worth`.

    Raises:
        CannotBalance: if nothing can balance them.
    """
    group_of = {pair.prompt: group for pair, group in zip(pairs, groups, strict=True)}
    balanced_pairs = balance(pairs, how)
    return Balanced(
        how=how,
        pairs=len(balanced_pairs),
        largest_weight=max((pair.weight for pair in balanced_pairs), default=1.0),
        effects=surface_effects(balanced_pairs, [group_of[pair.prompt] for pair in balanced_pairs]),
    )


def _by_response(pairs: Sequence[Pair], votes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts for the first response, the second and ties; a hash of the texts says which is first, never the votes."""
    swapped = np.array([_digest(pair.rejected) < _digest(pair.chosen) for pair in pairs], dtype=bool)
    ordered = np.where(swapped[:, None], votes[:, ::-1], votes)
    return np.column_stack([ordered, np.zeros(len(pairs), dtype=np.int64)])


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
