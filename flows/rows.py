"""A split of a snapshot as the records that the recipe trains on."""

from typing import Any

import numpy as np

from data_contracts.preferences import TRIPLE, VOTES
from flows.datasets import Reference, read_split
from flows.reward_config import Labels
from rlhf_core.records import Demonstration, Pair


def read_demonstrations(ref: Reference, split: str) -> list[Demonstration]:
    """The demonstrations of a split, in the order of the snapshot."""
    return list(map(Demonstration, *_columns(ref, split, "prompt", "response")))


def read_pairs(ref: Reference, split: str) -> list[Pair]:
    """The preference pairs of a split, in the order of the snapshot."""
    return list(map(Pair, *_columns(ref, split, *TRIPLE)))


def read_labelled_pairs(ref: Reference, split: str, *, labels: Labels, margin_scale: float) -> list[Pair]:
    """`read_pairs` with what votes and grades say of them.

    Args:
        ref: the snapshot.
        split: of it.
        labels: `majority` takes what most preferred as certain; `votes` goes by the shares, ties half to each side.
        margin_scale: logits that one unit of the annotators' margin is worth.
    """
    chosen, rejected, tied, grades = (np.array(column) for column in _columns(ref, split, *VOTES, "margin"))
    dissents = (rejected + tied / 2) / (chosen + rejected + tied) if labels == "votes" else np.zeros(len(chosen))
    said = zip((margin_scale * grades).tolist(), dissents.tolist(), strict=True)
    pairs = zip(read_pairs(ref, split), said, strict=True)
    return [pair._replace(margin=margin, dissent=dissent) for pair, (margin, dissent) in pairs]


def read_prompts(ref: Reference, split: str) -> list[str]:
    """The prompts of a split, in the order of the snapshot."""
    (prompts,) = _columns(ref, split, "prompt")
    return prompts


def _columns(ref: Reference, split: str, *names: str) -> list[list[Any]]:
    """Cells of a split, column by column."""
    table = read_split(ref, split)
    return [table[name].tolist() for name in names]
