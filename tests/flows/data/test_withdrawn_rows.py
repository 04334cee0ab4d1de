"""Withdrawn rows are left out and counted, and contributors are those whose rows went in."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from flows.config.data import ContractConfig, FileData, Shares
from flows.data.sources import file_digests, open_sources
from flows.data.step_timer import Clock
from flows.data.tables import Table, make_tables
from flows.data.withdrawn_rows import WithdrawnRows
from flows.registry.client import open_registry
from flows.registry.contributors import Contributors
from flows.registry.withdrawals import DataName, Withdrawal, hashed_group, withdraw
from flows.storage.row_keys import row_keys

Rows = list[dict[str, Any]]

RATED = {
    "columns": {"prompt": "question", "responses": ["a", "b"], "label": "best", "annotator": "rater"},
    "labels": {"A": "first", "B": "second"},
}
SEVERAL = {
    "columns": {"prompt": "question", "responses": ["a", "b"], "label": ["ann", "ben", "cho"]},
    "labels": {"A": "first", "B": "second"},
}


def rows(numbers: range, **fields: Any) -> Rows:
    return [{"question": f"how do I mend part {i}", "a": f"turn {i} off", "b": f"call {i}", **fields} for i in numbers]


def write(path: Path, lines: Rows) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(map(json.dumps, lines)))


def named(kind: Any, name: str) -> Withdrawal:
    return Withdrawal(id="w", kind=kind, name=name, table="", why="bad", by="me", when=datetime.now(UTC))


NOBODY = MlflowClient("http://127.0.0.1:9")  # not asked but for withdrawn datasets


def made(
    folder: Path, form: dict[str, Any], *withdrawals: Withdrawal, kind: Any = "preferences", client: Any = NOBODY
) -> Table:
    data = FileData.model_validate({kind: [{"path": str(folder), "format": form}]})
    withdrawn = WithdrawnRows(withdrawals, client)
    opened = open_sources(data, seed=0, spare=withdrawn.spare)
    reads = {kind: withdrawn.leave_out(kind, batches) for kind, batches in opened.items()}
    work = folder.parent / f"work{len(list(folder.parent.iterdir()))}"
    contract = ContractConfig(near_held_out=None)
    return make_tables(reads, Shares(test=0.2, judge=0.2), contract, folder=work, clock=Clock())[kind]


def written(table: Table) -> pd.DataFrame:
    return pd.read_parquet(table.snapshot.path)


def told(table: Table, without: Sequence[str] = ()) -> Contributors:
    return table.contributions.contributors(without)


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    """Two files: ann and ben rate the first ten pairs of the first, ben and cho those of the second alone."""
    folder = tmp_path / "drop"
    both = [{**row, "rater": rater} for row in rows(range(10), best="A") for rater in ("ann", "ben")]
    write(folder / "one.jsonl", [*both, *rows(range(10, 20), best="A", rater="ann")])
    write(folder / "two.jsonl", [*rows(range(10), best="B", rater="cho"), *rows(range(20, 25), best="B", rater="cho")])
    return folder


def test_a_source_is_left_out_with_its_votes_and_counted(drop: Path) -> None:
    whole = made(drop, RATED)
    assert told(whole).sources == {"drop/one.jsonl": 30, "drop/two.jsonl": 15}
    assert told(whole).annotators == {"ann": 20, "ben": 10, "cho": 15}
    assert len(written(whole)) == 25 and written(whole)["votes_rejected"].sum() == 10
    less = made(drop, RATED, named("source", "drop/two.jsonl"))
    assert less.counts.withdrawn == 15 and less.counts.left_out["withdrawn: source drop/two.jsonl"] == 15
    assert told(less, ["source:drop/two.jsonl"]).sources == {"drop/one.jsonl": 30}
    assert len(written(less)) == 20 and written(less)["votes_rejected"].sum() == 0


def test_an_annotator_takes_votes_along_and_leaves_those_of_others(drop: Path) -> None:
    less = made(drop, RATED, named("annotator", "ann"))
    assert told(less).annotators == {"cho": 5}  # ben and cho are even on ten pairs, which are left out
    assert less.counts.withdrawn == 20 and len(written(less)) == 5


def test_a_group_is_known_by_its_hash(drop: Path) -> None:
    less = made(drop, RATED, named("group", hashed_group("how do I mend part 3")))
    assert less.counts.withdrawn == 3 and "how do I mend part 3" not in set(written(less)["prompt"])
    assert len(written(less)) == 24


def test_rows_of_a_withdrawn_dataset_are_known_by_their_texts(drop: Path, storage: Path) -> None:
    gone = written(made(drop, RATED)).head(4)
    registry = open_registry("desk-withdrawals", storage)
    data = DataName("dataset", "d" * 64, "preferences")
    withdrawal = withdraw(registry, "desk", data, why="bad", by="me", keys=row_keys("preferences", gone))
    less = made(drop, RATED, withdrawal, client=registry.client)
    assert set(written(less)["prompt"]) == set(written(made(drop, RATED))["prompt"]) - set(gone["prompt"])


def test_votes_inside_a_row_are_counted_again_without_the_annotator(tmp_path: Path) -> None:
    folder = tmp_path / "drop"
    votes = {"ann": "B", "ben": "B", "cho": "A"}
    write(folder / "all.jsonl", [*rows(range(20), **votes), *rows(range(20, 30), ann="A", ben=None, cho=None)])
    whole = made(folder, SEVERAL)
    assert told(whole).annotators == {"ann": 30, "ben": 20, "cho": 20}
    assert set(written(whole).query("votes_rejected == 1")["chosen"].str[:4]) == {"call"}
    less = made(folder, SEVERAL, named("annotator", "ben"))  # one vote each way is a tie
    assert less.counts.left_out == {"withdrawn: annotator ben": 20, "a tie of the votes": 20}
    assert told(less).annotators == {"ann": 10}
    without = made(folder, SEVERAL, named("annotator", "ann"))  # who alone voted on ten pairs
    assert without.counts.withdrawn == 30 and told(without).annotators == {}
    both = made(folder, SEVERAL, named("annotator", "ann"), named("annotator", "ben"))
    assert told(both).annotators == {"cho": 20} and set(written(both)["chosen"].str[:4]) == {"turn"}


def test_the_grade_of_a_withdrawn_annotator_goes_with_the_vote(tmp_path: Path) -> None:
    folder = tmp_path / "drop"
    form = {**SEVERAL, "labels": {"A+": {"first": 3}, "A": {"first": 1}, "B": {"second": 1}}}
    write(folder / "all.jsonl", [*rows(range(20), ann="A+", ben="A", cho="A"), *rows(range(20, 30), ann="A+", ben="B")])
    assert {*written(made(folder, form))["grade"]} == {5 / 3}
    less = written(made(folder, form, named("annotator", "ann")))
    assert {*less["grade"]} == {1.0} and less["chosen"].str[:4].value_counts().to_dict() == {"turn": 20, "call": 10}


def test_an_annotator_is_withdrawn_however_the_name_is_spaced(tmp_path: Path) -> None:
    folder = tmp_path / "drop"
    write(folder / "all.jsonl", [*rows(range(30), best="A", rater="ann "), *rows(range(30, 60), best="A", rater="ben")])
    less = made(folder, RATED, named("annotator", " ann\u200b"))
    assert (less.counts.withdrawn, told(less).annotators) == (30, {"ben": 30})


def test_the_preferred_answer_of_a_withdrawn_annotator_is_no_demonstration(tmp_path: Path) -> None:
    folder = tmp_path / "drop"
    lines = [*rows(range(30), best="A", rater="ann"), *rows(range(30, 60), best="A", rater="ben")]
    write(folder / "all.jsonl", lines)
    less = made(folder, RATED, named("annotator", "ann"), kind="demonstrations")
    assert (less.counts.withdrawn, told(less).annotators) == (30, {"ben": 30})


def test_who_is_quarantined_has_given_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "drop"
    write(folder / "good.jsonl", rows(range(40), best="A", rater="ann"))
    write(folder / "spoilt.jsonl", [{**row, "b": " "} for row in rows(range(40, 42), best="A", rater="ben")])
    table = made(folder, RATED)
    assert table.counts.quarantined == 2 and told(table).sources == {"drop/good.jsonl": 40}


def test_a_file_that_lands_later_is_left_to_the_next_ingestion(drop: Path) -> None:
    data = FileData.model_validate({"preferences": [{"path": str(drop), "format": RATED}]})
    pinned = file_digests(data)
    write(drop / "zero.jsonl", rows(range(30, 40), best="A", rater="ann"))
    read = [batch.frame for batch, *_ in open_sources(data, seed=0, pinned=pinned)["preferences"]]
    assert set(pd.concat(read)["source"]) == {"drop/one.jsonl", "drop/two.jsonl"}
    assert np.sum([len(frame) for frame in read]) == 45
