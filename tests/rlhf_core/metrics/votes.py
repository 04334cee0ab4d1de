"""Votes counted, and the bounds that agreement of two sets on the ceiling, apart from the code under test."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlhf_core.metrics.annotator_agreement import VERDICTS


class Bounds(NamedTuple):
    """Chance A that two annotators agree on a pair, and what the ceiling lies between."""

    agreement: float
    ceiling_from: float
    ceiling_to: float


def count_votes(votes: Mapping[str, Sequence[str | None]]) -> NDArray[np.int64]:
    """How many annotators gave each verdict, a row for each pair."""
    counts = [Counter(row) for row in zip(*votes.values(), strict=True)]
    return np.array([[count[verdict] for verdict in VERDICTS] for count in counts])


def ceiling_bounds(votes_chosen: Sequence[int], votes_rejected: Sequence[int]) -> Bounds:
    """Bounds without any assumption on how p, the share of all people who prefer the chosen response, is spread.

    A = E[p^2 + (1 - p)^2]; max(p, 1 - p) = 1/2 + |p - 1/2| and A = 1/2 + 2 E[(p - 1/2)^2] put the ceiling between A
    and 1/2 + sqrt((A - 1/2) / 2), by Jensen.
    """
    chosen, rejected = np.asarray(votes_chosen), np.asarray(votes_rejected)
    couples = (chosen + rejected) * (chosen + rejected - 1)
    share = float(np.mean((chosen * (chosen - 1) + rejected * (rejected - 1)) / couples))
    return Bounds(share, share, 0.5 + ((share - 0.5) / 2) ** 0.5)
