"""A split of a snapshot as the records that the recipe trains on."""

from flows.datasets import Reference, read_split
from rlhf_core.records import Demonstration, Pair


def read_demonstrations(ref: Reference, split: str) -> list[Demonstration]:
    """The demonstrations of a split, in the order of the snapshot."""
    table = read_split(ref, split)
    return [Demonstration(str(row.prompt), str(row.response)) for row in table.itertuples()]


def read_pairs(ref: Reference, split: str) -> list[Pair]:
    """The preference pairs of a split, in the order of the snapshot."""
    table = read_split(ref, split)
    return [Pair(str(row.prompt), str(row.chosen), str(row.rejected)) for row in table.itertuples()]


def read_prompts(ref: Reference, split: str) -> list[str]:
    """The prompts of a split, in the order of the snapshot."""
    return [str(row.prompt) for row in read_split(ref, split).itertuples()]
