"""From raw votes, grades and rankings through the contract and a snapshot to the pairs that are trained on."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pytest

from flows.config.data import ContractConfig, FileData, FileSource, Shares
from flows.data.sources import open_sources
from flows.data.step_timer import Clock
from flows.data.tables import make_tables
from flows.storage.content_digest import RowDigest
from flows.storage.records import read_pairs
from flows.storage.snapshots import Snapshot
from rlhf_core.data.records import Pair

COUNT = 30


def snapshot(folder: Path, make: Any, **source: Any) -> Snapshot:
    """A table of rows with prompts of their own, ingested from a file."""
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(make(index)) + "\n" for index in range(COUNT)))
    data = FileData(preferences=(FileSource(path=str(path), **source),))
    table = make_tables(
        open_sources(data, seed=1), Shares(test=0.2, judge=0.2), ContractConfig(), folder=folder / "work", clock=Clock()
    )["preferences"]
    assert table.problems() == []
    found: Snapshot = table.snapshot.publish("preferences", folder)
    return found


def read(found: Snapshot) -> list[Pair]:
    return read_pairs(found, "train")


def place_of(pair: Pair) -> int:
    return int(pair.prompt.removeprefix("How ").removesuffix("?"))


def test_votes_become_shares_and_ties_halves(tmp_path: Path) -> None:
    def row(index: int) -> dict[str, Any]:
        votes = (["a", "a", "b"], ["a", "tie"], ["tie"])[index % 3]
        return {"prompt": f"How {index}?", "response_a": f"So {index}.", "response_b": f"No {index}.", "votes": votes}

    found = read(snapshot(tmp_path, row, ties="keep"))
    assert len(found) > 10
    for pair in found:
        assert pair.share == pytest.approx((2 / 3, 3 / 4, 1 / 2)[place_of(pair) % 3])


def test_ties_are_left_out_unless_they_are_kept(tmp_path: Path) -> None:
    def row(index: int) -> dict[str, Any]:
        return {"prompt": f"How {index}?", "responses": [f"a {index}", f"b {index}", f"c {index}"], "ranks": [1, 1, 2]}

    found = snapshot(tmp_path, row)
    assert found.rows == 2 * COUNT and {pair.share for pair in read(found)} == {1.0}
    assert {pair.rejected[0] for pair in read(found)} == {"c"}


def test_grades_come_in_the_unit_of_the_data(tmp_path: Path) -> None:
    def row(index: int) -> dict[str, Any]:
        return {"prompt": f"How {index}?", "chosen": f"So {index}.", "rejected": f"No {index}.", "margin": index % 4}

    for pair in read(snapshot(tmp_path, row)):
        assert (pair.grade, pair.margin) == (place_of(pair) % 4, 0.0)


def test_a_snapshot_of_the_contract_before_has_no_ties_and_no_grades(tmp_path: Path) -> None:
    def row(index: int) -> dict[str, Any]:
        return {"prompt": f"How {index}?", "chosen": f"So {index}.", "rejected": f"No {index}.", "margin": 1}

    path = Path(snapshot(tmp_path, row).path)
    frame = pd.read_parquet(path).drop(columns=["votes_tied", "grade"])
    digest = RowDigest()
    digest.add(pa.Table.from_pandas(frame, preserve_index=False))
    old = tmp_path / "old.parquet"
    frame.to_parquet(old, index=False)
    found = read_pairs(Old(old, digest.hexdigest()), "train")
    assert found and {(pair.share, pair.grade) for pair in found} == {(1.0, 0.0)}


class Old(NamedTuple):
    path: Path
    digest: str
