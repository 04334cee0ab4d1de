"""Train, judge and test splits: groups of rows divided by a hash."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from data_contracts.sameness import same_form
from flows.config.data import Shares
from flows.storage.snapshots import SPLITS


class EmptySplit(ValueError):
    """A table with too few groups to be divided."""


def split_by_group(groups: Sequence[str], shares: Shares, *, judge: bool) -> NDArray[np.object_]:
    """Assign each row to a split by the hash of its group.

    A group's split depends on its text, in whatever Unicode form, and the shares alone: adding rows never moves a row
    to another split.

    Args:
        groups: the group of each row, shape ``[N]``.
        shares: how much each split gets, on average over groups.
        judge: whether the judge gets rows of this table, which preferences do.

    Returns:
        The split of each row, shape ``[N]``.
    """
    edges = np.cumsum([shares.test, shares.judge if judge else 0.0])
    order = np.array(["test", "judge", "train"], dtype=object)
    positions = {group: _position(group) for group in set(groups)}
    chosen: NDArray[np.object_] = order[np.searchsorted(edges, [positions[group] for group in groups], side="right")]
    return chosen


def check_splits(rows: Mapping[str, int], *, judge: bool) -> None:
    """Refuse a table in which a split got no row, or that has none at all.

    Raises:
        EmptySplit: naming the empty ones.
    """
    empty = [name for name in SPLITS if not rows.get(name) and (judge or name != "judge")]
    if not any(rows.values()):
        raise EmptySplit("no row is left; mend those that are not written, or add others")
    if empty:
        raise EmptySplit(
            f"the splits {', '.join(empty)} have no row: there are too few groups for the shares; "
            "add rows or raise the shares"
        )


def _position(group: str) -> float:
    """A position in [0, 1) that only the group's text decides."""
    return int.from_bytes(hashlib.sha256(f"split\0{same_form(group)}".encode()).digest()[:7]) / 2**56
