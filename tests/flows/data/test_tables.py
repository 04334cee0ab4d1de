"""Both passes over tables: splits, votes, leaks, quarantine; and that no row is ever lost."""

import gzip
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_contracts.conversation import read_conversation
from data_contracts.formats.convert import SourceRow, convert_rows
from data_contracts.records import COLUMNS, Kind
from flows.config.data import ContractConfig, FileData, FileSource, Shares
from flows.config.errors import InputError
from flows.data.sources import Read, file_digests, held_out_prompts, open_sources
from flows.data.step_timer import Clock
from flows.data.tables import Table, make_tables
from flows.data.votes import PairVotes
from flows.storage.snapshots import Snapshot
from rlhf_core.embedded_world.data import WorldConfig

SMALL = WorldConfig(demonstrations=80, preference_prompts=60, prompts=80)
SHARES = Shares(test=0.2, judge=0.2)
LENIENT = ContractConfig(max_quarantined=1.0)
BATCH = 7
Rows = list[dict[str, Any]]


def reads(
    kind: Kind, rows: Rows, *, votes: bool = False, ties: bool = False, source: str = "made-up.jsonl"
) -> Iterator[Read]:
    numbered = [SourceRow(source, number, row) for number, row in enumerate(rows, start=1)]
    for start in range(0, len(numbered), BATCH):
        yield Read(convert_rows(kind, lambda row: [row], numbered[start : start + BATCH]), votes, ties)


def make(tables: dict[Kind, Any], folder: Path, contract: ContractConfig = LENIENT) -> dict[Kind, Table]:
    return make_tables(tables, SHARES, contract, folder=folder / "work", clock=Clock())


def content(table: Table, folder: Path) -> tuple[Snapshot, pd.DataFrame]:
    snapshot = table.snapshot.publish("table", folder)
    return snapshot, pd.read_parquet(snapshot.path)


def pairs(count: int = 40) -> Rows:
    return [
        {"prompt": f"How do I mend part {i}?", "chosen": f"Turn {i} off.", "rejected": f"I do not know {i}."}
        for i in range(count)
    ]


def quarantined(folder: Path, kind: Kind) -> pd.DataFrame:
    return pd.read_csv(folder / "work" / kind / "quarantine.csv")


def test_the_embedded_world_meets_its_contracts(tmp_path: Path) -> None:
    tables = make(open_sources(SMALL, seed=1), tmp_path, ContractConfig())
    assert set(tables) == set(COLUMNS)
    assert [table.problems() for table in tables.values()] == [[], [], []]
    assert [table.counts.quarantined for table in tables.values()] == [0, 0, 0]
    assert all(tables["preferences"].snapshot.split_rows[split] for split in ("train", "judge", "test"))
    assert tables["prompts"].snapshot.split_rows["judge"] == 0
    frames = [content(table, tmp_path)[1][["prompt", "split"]] for table in tables.values()]
    both = pd.concat(frames)
    held_out = both["split"] == "test"
    assert set(both.loc[held_out, "prompt"]).isdisjoint(both.loc[~held_out, "prompt"])


def test_where_no_row_is_left_it_is_told_what_became_of_them(tmp_path: Path) -> None:
    lines = [dict(row, score_chosen=2, score_rejected=2 + index % 4) for index, row in enumerate(pairs())]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    table = make(open_sources(FileData(preferences=(FileSource(path=str(path)),)), seed=1), tmp_path)["preferences"]
    (problem,) = table.problems()
    assert str(problem).splitlines() == [
        "preferences: no row is left; mend those that are not written, or add others",
        "  not written: scores_favour_chosen (30)",
        "  not written: a tie of the votes (10)",
    ]


def test_bad_rows_are_set_aside_with_their_place_and_the_rest_is_written(tmp_path: Path) -> None:
    rows = pairs()
    rows[4] |= {"rejected": rows[4]["chosen"]}
    rows[9] |= {"chosen": " "}
    rows.append(dict(rows[0]))
    rows.append({**rows[1], "chosen": rows[1]["rejected"], "rejected": rows[1]["chosen"]})
    table = make({"preferences": reads("preferences", rows)}, tmp_path)["preferences"]
    assert table.problems() == []
    aside = quarantined(tmp_path, "preferences")
    assert sorted(zip(aside["row"], aside["rule"], strict=True)) == [
        (2, "not_contradicted"),
        (5, "responses_differ"),
        (10, "chosen_not_empty"),
        (41, "not_repeated"),
        (42, "not_contradicted"),
    ]
    assert set(aside["source"]) == {"made-up.jsonl"}
    assert json.loads(aside["record"].iloc[0])["prompt"].startswith("How do I mend part")
    assert table.counts.model_dump(include={"rows", "records", "written", "merged", "quarantined"}) == {
        "rows": 42,
        "records": 42,
        "written": 37,
        "merged": 0,
        "quarantined": 5,
    }


def test_of_a_text_that_is_longer_than_any_sound_one_the_beginning_is_kept(tmp_path: Path) -> None:
    rows = [*pairs(), {"prompt": "x" * 1_000_001, "chosen": "y" * 1_000_000, "rejected": "z"}]
    make({"preferences": reads("preferences", rows)}, tmp_path)
    record = json.loads(quarantined(tmp_path, "preferences")["record"].iloc[0])
    assert record["prompt"] == f"{'x' * 1000}… (1,000,001 characters)" and len(record["chosen"]) == 1_000_000


def test_repeated_and_contradicting_labels_become_votes_where_the_source_says_so(tmp_path: Path) -> None:
    rows = [*pairs(), *pairs(), *swapped(pairs())]
    table = make({"preferences": reads("preferences", rows, votes=True)}, tmp_path)["preferences"]
    _, frame = content(table, tmp_path)
    assert set(zip(frame["votes_chosen"], frame["votes_rejected"], strict=True)) == {(2, 1)}
    assert set(frame["chosen"]) == {row["chosen"] for row in pairs()}
    assert (table.counts.merged, table.counts.written) == (80, 40)
    assert table.votes.chosen.sum() + table.votes.rejected.sum() == len(rows)
    held_out = int((frame["split"] == "test").sum())
    assert table.votes.held_out == [3] * held_out


def swapped(rows: Rows) -> Rows:
    return [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in rows]


def test_labels_that_leave_a_pair_even_are_counted_and_no_pair(tmp_path: Path) -> None:
    rows = pairs()
    rows += [*swapped(rows[:10]), *rows[:5], *swapped(rows[:5])]  # five pairs 2:2, five 1:1
    table = make({"preferences": reads("preferences", rows, votes=True)}, tmp_path)["preferences"]
    _, frame = content(table, tmp_path)
    assert set(frame["prompt"]) == {row["prompt"] for row in pairs()[10:]}
    assert table.counts.left_out == {"a tie of the votes": 10}
    assert (table.counts.records, table.counts.written, table.counts.merged) == (60 - 10, 30, 20)
    assert table.votes.chosen.sum() + table.votes.rejected.sum() == len(rows)  # the ceiling knows of all
    assert len(table.votes.held_out) == (frame["split"] == "test").sum()


def test_even_labels_are_ties_where_all_their_sources_keep_these(tmp_path: Path) -> None:
    made = {
        name: make(
            {
                "preferences": [
                    *reads("preferences", pairs(), votes=True, ties=True),
                    *reads("preferences", swapped(pairs()[:10]), votes=True, ties=keeps, source="other.jsonl"),
                ]
            },
            tmp_path / name,
        )["preferences"]
        for name, keeps in (("kept", True), ("left out", False))
    }
    _, kept = content(made["kept"], tmp_path)
    even = kept[kept["votes_chosen"] == kept["votes_rejected"]]
    assert (len(kept), len(even), made["kept"].counts.left_out) == (40, 10, {})
    assert made["left out"].counts.left_out == {"a tie of the votes": 10}


def test_votes_behind_held_out_labels_are_those_of_held_out_pairs() -> None:
    held_out = np.array([True, False, True, True, True, True])
    votes = PairVotes(
        np.array([2, 1, 3, 1, 2, 0]),
        np.array([1, 0, 2, 0, 2, 0]),
        np.arange(6, dtype=np.uint64),
        held_out,
        np.full(6, None),
        np.full(6, "a.csv", dtype=object),
    )
    assert votes.held_out == [3, 5, 1, 0, 0]


@pytest.mark.parametrize(("others", "expected"), [(1, [3] * 39), (4, [])])
def test_labels_of_sources_without_repeated_votes_have_no_ceiling_by_those_of_others(
    others: int, expected: list[int]
) -> None:
    """Three people labelled each pair of one source; who labelled the other one, and how well, nobody knows."""
    three, single = 40 - others, others
    votes = PairVotes(
        np.repeat([2, 1], [three, single]),
        np.repeat([1, 0], [three, single]),
        np.arange(40, dtype=np.uint64),
        np.full(40, True),
        np.full(40, None),
        np.repeat(np.array(["vendor.csv", "export.parquet"], dtype=object), [three, single]),
    )
    assert votes.held_out == expected


def test_a_fatal_rule_refuses_the_table_and_names_row_field_and_mend(tmp_path: Path) -> None:
    rows = pairs()
    rows[6] |= {"chosen": 5}
    (problem,) = make({"preferences": reads("preferences", rows)}, tmp_path)["preferences"].problems()
    assert "made-up.jsonl row 7, field chosen: chosen is not a string" in str(problem)
    assert "Mend: write the value as a string" in str(problem)
    shutil.rmtree(tmp_path / "work")
    quarantine = ContractConfig(rules={"chosen_is_text": "quarantine"})
    table = make({"preferences": reads("preferences", rows)}, tmp_path, quarantine)["preferences"]
    assert table.problems() == [] and table.counts.by_rule == {"chosen_is_text": 1}
    shutil.rmtree(tmp_path / "work")
    rows[6] |= {"chosen": ""}
    strict = ContractConfig(rules={"chosen_not_empty": "fatal"})
    (problem,) = make({"preferences": reads("preferences", rows)}, tmp_path, strict)["preferences"].problems()
    assert "break fatal rules" in str(problem)


def test_too_many_quarantined_rows_refuse_the_table(tmp_path: Path) -> None:
    rows = pairs() + pairs()[:10]
    (problem,) = make({"preferences": reads("preferences", rows)}, tmp_path, ContractConfig())["preferences"].problems()
    message = str(problem)
    assert message.startswith("preferences: 10 of 50 records would be quarantined, more than the share of 0.05")
    assert "not_repeated (10). Mend: remove the copy" in message and "mend part" not in message


def test_the_allowed_share_itself_is_allowed(tmp_path: Path) -> None:
    rows = pairs(45) + [{"prompt": f"empty {number}", "chosen": "", "rejected": "no"} for number in range(5)]
    for share, refused in ((0.1, False), (0.099, True)):
        made = make(
            {"preferences": reads("preferences", rows)}, tmp_path / str(share), ContractConfig(max_quarantined=share)
        )
        assert bool(made["preferences"].problems()) == refused


def test_rows_that_train_on_a_prompt_held_out_elsewhere_are_set_aside(tmp_path: Path) -> None:
    held_out = [{"prompt": f"question {i}", "group": f"group {i}"} for i in range(40)]
    spoken = [{"prompt": f"  Question\n{i}", "response": f"answer {i}", "group": f"elsewhere {i}"} for i in range(40)]
    tables: dict[Kind, Any] = {"prompts": reads("prompts", held_out), "demonstrations": reads("demonstrations", spoken)}
    made = make(tables, tmp_path)
    frames = {kind: content(table, tmp_path / kind)[1] for kind, table in made.items()}
    leaks = quarantined(tmp_path, "demonstrations")
    assert set(leaks["rule"]) == {"prompt_not_held_out"} and len(leaks) > 0
    known = {prompt.split()[-1] for prompt in frames["prompts"].query("split == 'test'")["prompt"]}
    trained = {prompt.split()[-1] for prompt in frames["demonstrations"].query("split != 'test'")["prompt"]}
    assert known and trained.isdisjoint(known)


def test_two_unicode_forms_of_a_pair_are_copies_or_votes_and_lie_in_one_split(tmp_path: Path) -> None:
    both = [
        {name: f"{text} cafe\u0301" if form else f"{text} caf\u00e9" for name, text in row.items()}
        for row in pairs()
        for form in (0, 1)
    ]
    copies = make({"preferences": reads("preferences", both)}, tmp_path / "copies")["preferences"].counts
    assert (copies.written, copies.by_rule) == (40, {"not_repeated": 40})
    voted = make({"preferences": reads("preferences", both, votes=True)}, tmp_path / "votes")["preferences"].counts
    assert (voted.written, voted.merged) == (40, 40)
    other = [row | {"rejected": f"{row['rejected']} {number}"} for number, row in enumerate(both)]
    _, frame = content(make({"preferences": reads("preferences", other)}, tmp_path / "all")["preferences"], tmp_path)
    assert len(frame) == 80 and set(frame["prompt"]) == {row["prompt"] for row in both}
    split_of = frame.set_index("prompt")["split"].to_dict()
    forms = zip(both[::2], both[1::2], strict=True)
    assert all(split_of[first["prompt"]] == split_of[second["prompt"]] for first, second in forms)


def test_too_few_groups_are_refused(tmp_path: Path) -> None:
    rows = [row | {"group": "the only one"} for row in pairs()]
    (problem,) = make({"preferences": reads("preferences", rows)}, tmp_path)["preferences"].problems()
    assert "too few groups for the shares" in str(problem)


TEXT = st.sampled_from(["a", "b", " ", "c d"])
ROW = st.fixed_dictionaries(
    {"prompt": st.sampled_from(["p", "q", "r", ""]), "chosen": TEXT, "rejected": TEXT},
    optional={"votes_chosen": st.sampled_from([0, 1, 3]), "votes_rejected": st.sampled_from([0, 1])},
)


@settings(max_examples=60)
@given(rows=st.lists(ROW, min_size=1, max_size=30), votes=st.booleans(), cut=st.integers(0, 30), data=st.data())
def test_whatever_the_rows_none_is_lost_and_their_order_and_files_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory, rows: Rows, votes: bool, cut: int, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("made")
    table = make({"preferences": reads("preferences", rows, votes=votes)}, folder)["preferences"]
    counts = table.counts
    assert counts.rows == len(rows) == counts.records + counts.left_out.get("a tie of the votes", 0)
    assert counts.records == counts.written + counts.merged + counts.quarantined
    lines = quarantined(folder, "preferences")
    assert len(lines.drop_duplicates("row")) == counts.quarantined and Counter(lines["rule"]) == counts.by_rule
    shuffled = data.draw(st.permutations(rows))
    halves = [
        *reads("preferences", shuffled[:cut], votes=votes, source="z.jsonl"),
        *reads("preferences", shuffled[cut:], votes=votes, source="a.jsonl"),
    ]
    again = make({"preferences": iter(halves)}, tmp_path_factory.mktemp("again"))["preferences"]
    assert again.snapshot.digest == table.snapshot.digest
    assert again.counts.by_rule == counts.by_rule


def hh_file(path: Path, rows: int = 60) -> Path:
    lines = []
    for i in range(rows):
        chosen = f"\n\nHuman: How do I mend part {i}?\n\nAssistant: Turn {i} off first" + " and wait" * (i % 2)
        rejected = f"\n\nHuman: How do I mend part {i}?\n\nAssistant: I do not know {i}" + " at all" * ((i + 1) % 2)
        lines.append(json.dumps({"chosen": chosen, "rejected": rejected}))
    path.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))
    return path


def hh_data(path: str) -> FileData:
    return FileData.model_validate({kind: (FileSource(path=path),) for kind in COLUMNS})


def test_files_are_found_in_the_data_folder_and_named_as_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "raw").mkdir()
    hh_file(tmp_path / "raw" / "pairs.jsonl.gz")
    monkeypatch.delenv("RLHF_DATA", raising=False)
    with pytest.raises(InputError, match=r"raw/pairs\.jsonl\.gz does not exist: check the path, and RLHF_DATA"):
        list(open_sources(hh_data("raw/pairs.jsonl.gz"), seed=0)["prompts"])
    monkeypatch.setenv("RLHF_DATA", str(tmp_path))
    for path in ("raw/pairs.jsonl.gz", "raw", "raw/*.gz"):
        tables = make(open_sources(hh_data(path), seed=0), tmp_path, ContractConfig())
        assert {kind: table.counts.written for kind, table in tables.items()} == dict.fromkeys(COLUMNS, 60)
        assert set(tables["prompts"].counts.sources) == {"raw/pairs.jsonl.gz"}
        shutil.rmtree(tmp_path / "work")


def test_the_file_and_not_its_place_is_part_of_the_key(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = hh_file(tmp_path / "a" / "pairs.jsonl.gz")
    second = hh_file(tmp_path / "b" / "pairs.jsonl.gz")
    assert file_digests(hh_data(str(first))) == file_digests(hh_data(str(second)))
    hh_file(second, rows=61)
    assert file_digests(hh_data(str(first))) != file_digests(hh_data(str(second)))
    with pytest.raises(InputError, match="does not exist"):
        file_digests(hh_data(str(tmp_path / "absent.jsonl")))


@pytest.mark.skipif("RLHF_DATA" not in os.environ, reason="RLHF_DATA names no folder with the real files")
def test_conversations_of_the_real_sample_keep_their_roles(tmp_path: Path) -> None:
    source = (FileSource(path="hh-rlhf/harmless-base-sample.jsonl.gz"),)
    table = make(open_sources(FileData(prompts=source), seed=0), tmp_path)["prompts"]
    _, frame = content(table, tmp_path)
    turns = frame["prompt"].map(lambda prompt: [turn["role"] for turn in read_conversation(prompt)])
    assert turns.map(len).max() > 5
    assert all(roles[::2] == ["user"] * len(roles[::2]) for roles in turns)


SYNTHETIC = {"synthetic message": 22, "reply without a rank": 46}
REAL: list[tuple[str, Kind, int, dict[str, int], dict[str, int]]] = [
    (
        "hh-rlhf/harmless-base-sample.jsonl.gz",
        "preferences",
        1492,
        {"prompt_is_shared": 1, "roles_alternate": 3, "chosen_not_empty": 4},
        {},
    ),
    ("hh-rlhf/harmless-base-sample.jsonl.gz", "prompts", 1494, {"roles_alternate": 4}, {}),
    ("oasst/en_100_tree.jsonl", "demonstrations", 207, {}, SYNTHETIC),
    ("oasst/en_100_tree.jsonl", "preferences", 732, {}, SYNTHETIC),
    ("oasst/en_100_tree.jsonl", "prompts", 95, {}, {"synthetic message": 5}),
    ("self-instruct/seed_tasks.jsonl", "demonstrations", 175, {}, {}),
    ("self-instruct/user_oriented_instructions.jsonl", "prompts", 252, {}, {}),
    (
        "pandalm/testset-v1.json",
        "preferences",
        775,
        {"chosen_is_text": 6, "chosen_not_empty": 1, "rejected_not_empty": 52, "not_repeated": 80},
        {"a tie of the votes": 85},
    ),
    ("llmbar/Natural.json", "preferences", 100, {}, {}),
    ("mt-bench/mt_bench_question.jsonl", "prompts", 80, {}, {}),
]


@pytest.mark.skipif("RLHF_DATA" not in os.environ, reason="RLHF_DATA names no folder with the real files")
@pytest.mark.parametrize(("path", "kind", "written", "by_rule", "left_out"), REAL)
def test_real_files_are_recognised_and_their_known_faults_found(
    path: str, kind: Kind, written: int, by_rule: dict[str, int], left_out: dict[str, int], tmp_path: Path
) -> None:
    contract = ContractConfig(max_quarantined=0.25, rules={"chosen_is_text": "quarantine"})
    data = FileData.model_validate({kind: ({"path": path},)})
    table = make(open_sources(data, seed=0), tmp_path, contract)[kind]
    assert table.problems() == []
    assert (table.counts.written, table.counts.by_rule, table.counts.left_out) == (written, by_rule, left_out)
    assert set(table.counts.sources) == {path}


def test_rows_that_train_on_a_prompt_of_an_evaluation_set_are_set_aside(tmp_path: Path) -> None:
    evaluated = tmp_path / "evaluation.jsonl"
    others = [f" how DO i mend\tpa\u200brt {i}? Cafe\u0301" for i in range(5)]
    evaluated.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in others))
    held_out = held_out_prompts(FileData(held_out=(FileSource(path=str(evaluated)),)))
    rows = [row | {"prompt": f"{row['prompt']} Caf\u00e9"} for row in pairs()]
    tables: dict[Kind, Any] = {"preferences": reads("preferences", rows), "prompts": reads("prompts", rows)}
    made = make_tables(tables, SHARES, LENIENT, folder=tmp_path / "work", clock=Clock(), held_out=held_out)
    for kind, table in made.items():
        _, frame = content(table, tmp_path / kind)
        aside = quarantined(tmp_path, kind)
        touched = frame["prompt"].isin([f"How do I mend part {i}? Caf\u00e9" for i in range(5)])
        assert set(frame.loc[touched, "split"]) <= {"test"}
        assert touched.sum() + len(aside) == 5 and set(aside["rule"]) == {"prompt_not_held_out"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": 5}, "row 2, field prompt: prompt is not a string"),
        ({"prompt": [5]}, "row 2, field prompt: is not a"),
    ],
)
def test_an_evaluation_set_that_cannot_be_compared_is_refused(row: Rows, message: str, tmp_path: Path) -> None:
    path = tmp_path / "evaluation.jsonl"
    path.write_text("\n".join(map(json.dumps, [{"prompt": "sound"}, row])))
    with pytest.raises(InputError, match=rf"data\.held_out: evaluation\.jsonl {message}"):
        list(held_out_prompts(FileData(held_out=(FileSource(path=str(path)),))))


def test_an_evaluation_set_is_part_of_the_key(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.jsonl"
    path.write_text(json.dumps({"prompt": "one"}))
    data = FileData(held_out=(FileSource(path=str(path)),))
    before = file_digests(data)
    path.write_text(json.dumps({"prompt": "another"}))
    assert list(before) == ["held_out:0:evaluation.jsonl"] and file_digests(data) != before


@pytest.mark.skipif("RLHF_DATA" not in os.environ, reason="RLHF_DATA names no folder with the real files")
def test_the_real_files_share_prompts_that_must_not_be_trained_on(tmp_path: Path) -> None:
    seeds, asked = "self-instruct/seed_tasks.jsonl", "self-instruct/user_oriented_instructions.jsonl"
    found, shares = {}, Shares(test=0.05, judge=0.1)
    for kind, path in (("demonstrations", seeds), ("preferences", "pandalm/testset-v1.json")):
        contract = ContractConfig(max_quarantined=1.0, rules={"chosen_is_text": "quarantine"})
        data = FileData.model_validate({kind: ({"path": path},), "held_out": ({"path": asked},)})
        reads, apart = open_sources(data, seed=0), held_out_prompts(data)
        made = make_tables(reads, shares, contract, folder=tmp_path / kind, clock=Clock(), held_out=apart)
        counts = made[kind].counts
        found[kind] = (counts.by_rule.get("prompt_not_held_out", 0), counts.written)
    assert found["demonstrations"] == (1, 174)
    assert found["preferences"][0] > 600
