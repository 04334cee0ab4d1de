"""A split of a snapshot as the records that the recipe trains on."""

from collections.abc import Iterable

from flows.storage.snapshots import Reference, read_split
from rlhf_core.data.records import Demonstration, Pair


def read_demonstrations(ref: Reference, split: str) -> list[Demonstration]:
    """The demonstrations of a split, in the order of the snapshot."""
    return list(map(Demonstration, *_columns(ref, split, "prompt", "response")))


def read_pairs(ref: Reference, split: str) -> list[Pair]:
    """The preference pairs of a split with their grades and the shares of their votes, in the order of the snapshot."""
    table = read_split(ref, split)
    tied = table.get("votes_tied", 0) / 2  # a snapshot of an earlier contract has neither ties nor grades
    votes = table["votes_chosen"] + table["votes_rejected"] + 2 * tied
    rows = table.assign(share=(table["votes_chosen"] + tied) / votes, grade=table.get("grade", 0.0))
    fields = ("prompt", "chosen", "rejected", "share", "grade")
    cells = zip(*(rows[name].tolist() for name in fields), strict=True)
    return [Pair(prompt, one, other, share=share, grade=grade) for prompt, one, other, share, grade in cells]


def read_all_pairs(refs: Iterable[Reference], split: str) -> list[Pair]:
    """The preference pairs of a split of several snapshots, one after another."""
    return [pair for ref in refs for pair in read_pairs(ref, split)]


def read_prompts(ref: Reference, split: str) -> list[str]:
    """The prompts of a split, in the order of the snapshot."""
    (prompts,) = _columns(ref, split, "prompt")
    return prompts


def _columns(ref: Reference, split: str, *names: str) -> list[list[str]]:
    """Texts of a split, column by column."""
    table = read_split(ref, split)
    return [table[name].tolist() for name in names]
