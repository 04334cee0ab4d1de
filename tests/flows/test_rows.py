"""From raw votes, grades and rankings through the contract and a snapshot to the pairs that are trained on."""

import json
from pathlib import Path
from typing import Any

import pytest

from flows.clock import Clock
from flows.config import InputError, load_config
from flows.data_config import ContractConfig, FileData, FileSource
from flows.datasets import Shares, Snapshot
from flows.rows import read_labelled_pairs, read_pairs
from flows.sources import open_sources
from flows.tables import make_tables
from rlhf_core.records import Pair

COUNT = 30


def snapshot(folder: Path, make: Any, **source: Any) -> Snapshot:
    """A table of rows with prompts of their own, ingested from a file."""
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(make(place)) + "\n" for place in range(COUNT)))
    data = FileData(preferences=(FileSource(path=str(path), **source),))
    table = make_tables(
        open_sources(data, seed=1), Shares(test=0.2, judge=0.2), ContractConfig(), folder=folder / "work", clock=Clock()
    )["preferences"]
    assert table.problems() == []
    found: Snapshot = table.snapshot.publish("preferences", folder)
    return found


def read(found: Snapshot, labels: Any = "votes", margin_scale: float = 0.0) -> list[Pair]:
    return read_labelled_pairs(found, "train", labels=labels, margin_scale=margin_scale)


def test_votes_become_soft_labels_and_ties_halves(tmp_path: Path) -> None:
    def row(place: int) -> dict[str, Any]:
        votes = (["a", "a", "b"], ["a", "tie"], ["tie"])[place % 3]
        return {"prompt": f"How {place}?", "response_a": f"So {place}.", "response_b": f"No {place}.", "votes": votes}

    found = snapshot(tmp_path, row, ties="keep")
    dissents = {pair.prompt: pair.dissent for pair in read(found)}
    assert len(dissents) > 10
    for prompt, dissent in dissents.items():
        assert dissent == pytest.approx((1 / 3, 1 / 4, 1 / 2)[int(prompt[4:-1]) % 3])
    assert {pair.dissent for pair in read(found, "majority")} == {0.0}
    assert read(found, "majority") == read_pairs(found, "train")


def test_ties_are_left_out_unless_they_are_kept(tmp_path: Path) -> None:
    def row(place: int) -> dict[str, Any]:
        return {"prompt": f"How {place}?", "responses": [f"a {place}", f"b {place}", f"c {place}"], "ranks": [1, 1, 2]}

    found = snapshot(tmp_path, row)
    assert found.rows == 2 * COUNT and {pair.dissent for pair in read(found)} == {0.0}
    assert {pair.rejected[0] for pair in read(found)} == {"c"}


def test_grades_become_margins_in_logits(tmp_path: Path) -> None:
    def row(place: int) -> dict[str, Any]:
        return {"prompt": f"How {place}?", "chosen": f"So {place}.", "rejected": f"No {place}.", "margin": place % 4}

    found = snapshot(tmp_path, row)
    for pair in read(found, margin_scale=0.5):
        assert pair.margin == 0.5 * (int(pair.prompt[4:-1]) % 4)
    assert {pair.margin for pair in read(found)} == {0.0}


def test_a_reward_model_that_is_taken_learns_from_no_labels() -> None:
    taken = "reward_model={from: 'models:/a/1', labels: votes}"
    with pytest.raises(InputError, match="labels and margin_scale say how pairs are learned from"):
        load_config(Path("configs/tiny.yaml"), overrides=[taken])
