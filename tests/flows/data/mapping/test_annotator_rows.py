"""One row for each annotator, all the way into tables: votes, ties, agreement; and files whose labels would be lost."""

import json
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from data_contracts.records import Kind
from flows.config.data import ContractConfig, FileData, Shares
from flows.config.errors import InputError
from flows.data.sources import open_sources
from flows.data.step_timer import Clock
from flows.data.tables import Table, make_tables

SHARES = Shares(test=0.2, judge=0.2)
PAIR = {"prompt": "question", "responses": ["response_a", "response_b"]}
LABELS = {"A": "first", "B": "second", "tie": "tie", "both bad": "skip"}
BY_ROW = {"columns": {**PAIR, "label": "preferred", "annotator": "rater"}, "labels": LABELS}
PEOPLE = ("ann", "bob", "cy")
SAID = random.Random(3).choices(["A", "B", "tie", "both bad", ""], weights=[8, 4, 1, 1, 1], k=180)
PAIRS = [
    {"question": f"How do I mend part {at}?", "response_a": f"Turn {at} off.", "response_b": f"I do not know {at}."}
    for at in range(60)
]
WIDE = [pair | dict(zip(PEOPLE, SAID[3 * at : 3 * at + 3], strict=True)) for at, pair in enumerate(PAIRS)]
LONG = [
    {name: row[name] for name in PAIRS[0]} | {"preferred": row[who], "rater": who} for row in WIDE for who in PEOPLE
]


def make(rows: list[dict[str, Any]], folder: Path, form: Any, kind: Kind = "preferences", **source: Any) -> Table:
    path = folder / "vendor.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    data = FileData.model_validate({kind: [{"path": str(path), "format": form, **source}]})
    contract = ContractConfig(max_quarantined=1.0)
    tables = make_tables(open_sources(data, seed=0), SHARES, contract, folder=folder / "work", clock=Clock())
    return tables[kind]


def written(table: Table, folder: Path) -> pd.DataFrame:
    frame = pd.read_parquet(table.snapshot.publish("table", folder).path)
    frame = frame.sort_values("prompt", ignore_index=True)
    return frame[["prompt", "chosen", "rejected", "votes_chosen", "votes_rejected", "votes_tied", "split"]]


@pytest.fixture
def by_row(tmp_path: Path) -> Table:
    (tmp_path / "long").mkdir()
    return make(LONG, tmp_path / "long", BY_ROW)


def test_rows_and_columns_of_annotators_give_the_same_votes(by_row: Table, tmp_path: Path) -> None:
    (tmp_path / "wide").mkdir()
    form = {"columns": {**PAIR, "label": list(PEOPLE)}, "labels": LABELS}
    wide = make(WIDE, tmp_path / "wide", form)
    pd.testing.assert_frame_equal(written(by_row, tmp_path / "long"), written(wide, tmp_path / "wide"))
    counts = by_row.counts
    assert counts.left_out["a label that means skip"] == SAID.count("both bad")
    assert counts.left_out["no vote"] == SAID.count("")
    even = [sum({"A": 1, "B": -1}.get(row[who], 0) for who in PEOPLE) == 0 for row in WIDE]
    voted = [any(row[who] in ("A", "B", "tie") for who in PEOPLE) for row in WIDE]
    assert counts.left_out["a tie of the votes"] == sum(e and v for e, v in zip(even, voted, strict=True))
    assert counts.written == 60 - sum(even)


def test_annotators_agree_as_much_as_their_labels_say(by_row: Table) -> None:
    figures = by_row.raw_votes.noise([])
    assert {name for name in figures if name.startswith("kappa")} == {
        f"kappa of {one} and {other}" for one, other in (("ann", "bob"), ("ann", "cy"), ("bob", "cy"))
    }
    both = [(row["ann"], row["bob"]) for row in WIDE if {row["ann"], row["bob"]} <= {"A", "B", "tie"}]
    expected = cohen_kappa_score(*zip(*both, strict=True))
    assert figures["kappa of ann and bob"].value == pytest.approx(expected)


def test_an_annotator_votes_once_on_a_pair(tmp_path: Path) -> None:
    again = [row | {"preferred": "B" if row["preferred"] == "A" else "A"} for row in LONG if row["rater"] == "ann"]
    (tmp_path / "once").mkdir()
    twice = make([*LONG, *again], tmp_path, BY_ROW)
    had = [row["preferred"] in ("A", "B", "tie") for row in LONG if row["rater"] == "ann"]
    assert twice.counts.by_rule == {"annotator_votes_once": sum(had)}
    once = make([*LONG, *(row for row, voted in zip(again, had, strict=True) if not voted)], tmp_path / "once", BY_ROW)
    pd.testing.assert_frame_equal(written(twice, tmp_path), written(once, tmp_path / "once"))


def test_a_lone_tie_is_left_out_unless_it_is_kept(tmp_path: Path) -> None:
    rows = [row | {"preferred": "tie" if at < 20 else "A"} for at, row in enumerate(LONG[::3])]
    for ties, expected in (("leave_out", 40), ("keep", 60)):
        (tmp_path / ties).mkdir()
        table = make(rows, tmp_path / ties, BY_ROW, ties=ties)
        assert table.counts.written == expected
        assert table.counts.left_out.get("a tie of the votes", 0) == 60 - expected


def test_labels_that_are_not_explained_refuse_the_data(tmp_path: Path) -> None:
    table = make([LONG[0] | {"preferred": "C"}, *LONG[1:]], tmp_path, BY_ROW)
    (problem,) = table.problems()
    assert "vendor.csv row 1, field preferred: holds 'C', which is none of the labels 'a', 'b'" in str(problem)
    assert "Mend: add it to the format's `labels`" in str(problem)


def test_all_columns_that_do_not_exist_are_named(tmp_path: Path) -> None:
    form = {"columns": {**PAIR, "label": "prefered", "annotator": "who"}, "labels": LABELS}
    with pytest.raises(InputError) as refused:
        make(LONG, tmp_path, form)
    assert (
        "has no column 'prefered' (label; did you mean 'preferred'?), 'who' (annotator); it has question, resp"
        in str(refused.value)
    )


TRL = [
    {"prompt": f"How {at}?", "chosen": f"So {at}.", "rejected": f"No {at}.", "winner": "AB"[at % 2]} for at in range(60)
]


def test_labels_beside_a_known_format_are_no_guess(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="looks like trl, which does not read winner, where labels seem to stand: map"):
        make(TRL, tmp_path, None)
    (remark,) = make(TRL, tmp_path / "named", "trl").remarks if (tmp_path / "named").mkdir() is None else ()
    assert remark == "vendor.csv: labels seem to stand in winner, which format trl does not read"


def test_a_file_that_a_format_takes_for_prompts_gives_no_pairs(tmp_path: Path) -> None:
    rows = [{"prompt": row["question"], **row} for row in LONG]
    with pytest.raises(InputError) as refused:
        make(rows, tmp_path, None)
    assert (
        "looks like trl, which gives prompts and no preferences: map its columns with `format: {columns: ...}`"
        in str(refused.value)
    )
    (tmp_path / "prompts").mkdir()
    assert make(rows[::3], tmp_path / "prompts", None, "prompts").remarks == []


def test_a_column_may_lack_in_some_lines_of_json(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({k: v for k, v in row.items() if v}) for row in LONG))
    data = FileData.model_validate({"preferences": [{"path": str(path), "format": BY_ROW}]})
    (reads,) = open_sources(data, seed=0).values()
    batches = [read.batch for read in reads]
    assert not [misfit for batch in batches for misfit in batch.misfits]
    assert sum(batch.left_out["no vote"] for batch in batches) == SAID.count("")
