"""A split of a snapshot as the records that the recipe trains on."""

from flows.datasets import Reference, read_split
from rlhf_core.records import Demonstration, Pair


def read_demonstrations(ref: Reference, split: str) -> list[Demonstration]:
    """The demonstrations of a split, in the order of the snapshot."""
    return list(map(Demonstration, *_columns(ref, split, "prompt", "response")))


def read_pairs(ref: Reference, split: str) -> list[Pair]:
    """The preference pairs of a split, in the order of the snapshot."""
    return list(map(Pair, *_columns(ref, split, "prompt", "chosen", "rejected")))


def read_prompts(ref: Reference, split: str) -> list[str]:
    """The prompts of a split, in the order of the snapshot."""
    (prompts,) = _columns(ref, split, "prompt")
    return prompts


def _columns(ref: Reference, split: str, *names: str) -> list[list[str]]:
    """Texts of a split, column by column."""
    table = read_split(ref, split)
    return [table[name].tolist() for name in names]
