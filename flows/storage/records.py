"""A split of a snapshot as the records that the recipe trains on."""

from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from flows.storage.snapshots import Reference, read_split
from rlhf_core.data.records import Demonstration, Pair, make_pairs

ADDED = {"votes_tied": 0, "grade": 0.0}
"""Columns that a snapshot of an earlier contract lacks, and what they would hold."""


def read_demonstrations(ref: Reference, split: str) -> list[Demonstration]:
    """The demonstrations of a split, in the order of the snapshot."""
    return list(map(Demonstration._make, _rows(read_split(ref, split), "prompt", "response")))


def read_pairs(ref: Reference, split: str) -> list[Pair]:
    """The preference pairs of a split with their grades and the shares of their votes, in the order of the snapshot."""
    table = read_split(ref, split)
    table = table.assign(**{name: value for name, value in ADDED.items() if name not in table})
    texts = _rows(table, "prompt", "chosen", "rejected")
    return make_pairs(texts, _rows(table, "votes_chosen", "votes_rejected", "votes_tied"), table["grade"].tolist())


def read_all_pairs(refs: Iterable[Reference], split: str) -> list[Pair]:
    """The preference pairs of a split of several snapshots, one after another."""
    return [pair for ref in refs for pair in read_pairs(ref, split)]


def read_prompts(ref: Reference, split: str) -> list[str]:
    """The prompts of a split, in the order of the snapshot."""
    return list(read_split(ref, split)["prompt"].tolist())


def _rows(table: pd.DataFrame, *names: str) -> Iterator[tuple[Any, ...]]:
    """Some columns of a table, row by row."""
    return zip(*(table[name].tolist() for name in names), strict=True)
