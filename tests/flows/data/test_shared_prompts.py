"""Prompts that many rows share: no fault where they are parts of rows, and nearly the same ones kept apart."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from data_contracts.records import Kind
from flows.config.data import ContractConfig, FileData, FileSource, Shares, TableShares
from flows.data.quarantine import Quarantine, QuarantineExceeded, RowsRefused
from flows.data.refusal import DataRefused
from flows.data.sources import held_out_prompts, open_sources
from flows.data.step_timer import Clock
from flows.data.tables import Table, make_tables
from flows.storage.snapshots import read_parts
from tests.flows.data.test_tables import pairs, quarantined, reads

Rows = list[dict[str, Any]]
SHARES = Shares(test=0.2, judge=0.2)
LENIENT = ContractConfig(max_quarantined=1.0)


def read_files(
    folder: Path,
    rows: dict[Kind, Rows],
    held_out: Sequence[dict[str, Any]] = (),
    *,
    contract: ContractConfig = LENIENT,
    near: float | None = None,
) -> dict[Kind, Table]:
    """Take the rows of one file for each table through both passes."""
    for use, lines in {**rows, "held_out": held_out}.items():
        (folder / f"{use}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    uses = [*rows, *(["held_out"] if held_out else [])]
    data = FileData.model_validate({use: [{"path": str(folder / f"{use}.jsonl")}] for use in uses})
    opened, apart = open_sources(data, seed=0), held_out_prompts(data)
    work = folder / "work"
    return make_tables(opened, SHARES, contract, folder=work, clock=Clock(), held_out=apart, near=near)


def prompts_of(table: Table, split: str | None = None) -> list[str]:
    frames = read_parts(table.snapshot.path, ("prompt", "split"))
    return sorted(
        prompt
        for frame in frames
        for prompt, of in zip(frame["prompt"], frame["split"], strict=True)
        if split in (None, of)
    )


def ranked(count: int = 30) -> Rows:
    """Three pairs of each prompt: the best answer beats two others, and these one another."""
    answers = [("best", "good"), ("best", "bad"), ("good", "bad")]
    return [
        {name: f"\n\nHuman: How do I mend part {i}?\n\nAssistant: {text} {i}" for name, text in pair.items()}
        for i in range(count)
        for pair in ({"chosen": chosen, "rejected": rejected} for chosen, rejected in answers)
    ]


def test_the_parts_that_pairs_share_are_one_record_and_counted(tmp_path: Path) -> None:
    made = read_files(tmp_path, {"preferences": ranked(), "demonstrations": ranked(), "prompts": ranked()})
    told = {kind: (table.counts.records, table.counts.written, table.counts.merged) for kind, table in made.items()}
    # of the answers chosen, "best" stands in two pairs and "good" in one
    assert told == {"preferences": (90, 90, 0), "demonstrations": (90, 60, 30), "prompts": (90, 30, 60)}
    assert not any(table.quarantine.rows or table.numbers["copies"].any() for table in made.values())
    assert prompts_of(made["prompts"]) == sorted(f"How do I mend part {i}?" for i in range(30))


def test_the_prompt_that_several_demonstrations_answer_is_one_prompt(tmp_path: Path) -> None:
    rows = [{"prompt": f"Mend {i}?", "completion": answer} for i in range(30) for answer in ("Yes.", "No.")]
    made = read_files(tmp_path, {"demonstrations": rows, "prompts": rows})
    assert {kind: (table.counts.written, table.counts.merged) for kind, table in made.items()} == {
        "demonstrations": (60, 0),
        "prompts": (30, 30),
    }


def test_whole_rows_that_repeat_are_copies_still(tmp_path: Path) -> None:
    asked = [{"prompt": row["prompt"]} for row in pairs(30)]
    spoken = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in pairs(30)]
    rows: dict[Kind, Rows] = {"prompts": [*asked, *asked[:3]], "demonstrations": [*spoken, *spoken[:2]]}
    made = read_files(tmp_path, rows)
    assert {kind: table.counts.by_rule for kind, table in made.items()} == {
        "prompts": {"not_repeated": 3},
        "demonstrations": {"not_repeated": 2},
    }


def test_parts_join_the_whole_row_of_the_same_text(tmp_path: Path) -> None:
    def both() -> Iterator[Any]:
        for read in reads(
            "prompts", [{"prompt": f"How do I mend part {i // 3}?"} for i in range(90)], source="pairs.jsonl"
        ):
            yield read._replace(is_part=True)
        yield from reads("prompts", [{"prompt": f"How do I mend part {i}?"} for i in (0, 1, 1)], source="asked.jsonl")

    table = make_tables({"prompts": both()}, SHARES, ContractConfig(), folder=tmp_path / "work", clock=Clock())[
        "prompts"
    ]
    # 90 parts of 30 texts and 3 whole rows of 2 of these: 28 parts stand for themselves, and one whole row is a copy
    assert (table.counts.written, table.counts.merged, table.counts.by_rule) == (30, 62, {"not_repeated": 1})


TOPICS = [f"topic{number}" for number in range(24)]
ANSWERS: dict[Kind, dict[str, str]] = {
    "preferences": {"chosen": "yes", "rejected": "no"},
    "demonstrations": {"completion": "yes"},
    "prompts": {},
}


def sentence(topic: str) -> str:
    """Fourteen words that no other topic has: with one more at the start, 14 of 17 pairs of words are the same."""
    return " ".join(f"{topic}-{number}" for number in range(14))


def about(kind: Kind, start: str) -> Rows:
    return [{"prompt": f"{start} {sentence(topic)}", **ANSWERS[kind]} for topic in TOPICS]


def topics_of(table: Table, *splits: str) -> set[str]:
    return {prompt.split()[1].split("-")[0] for split in splits for prompt in prompts_of(table, split)}


def test_rows_that_train_on_nearly_a_held_out_prompt_are_set_aside_in_every_table(tmp_path: Path) -> None:
    starts: dict[Kind, str] = {"preferences": "Well,", "demonstrations": "So:", "prompts": "Please"}
    evaluated = [{"prompt": f"{sentence(topic).upper()}!"} for topic in TOPICS[:5]]
    made = read_files(tmp_path, {kind: about(kind, start) for kind, start in starts.items()}, evaluated, near=0.7)
    held_out = {kind: topics_of(table, "test") for kind, table in made.items()}
    apart = set(TOPICS[:5]).union(*held_out.values())
    assert len(set(map(frozenset, held_out.values()))) == 3  # each table holds out other topics
    for kind, table in made.items():
        trained = topics_of(table, "train", "judge")
        assert trained == set(TOPICS) - apart and trained
        assert table.counts.by_rule == {"prompt_near_held_out": len(apart - held_out[kind])}
        aside = quarantined(tmp_path, kind)
        assert set(aside["rule"]) == {"prompt_near_held_out"}
        for row, reason in zip(aside["row"], aside["reason"], strict=True):
            where, _, similar = reason.partition(": ")[2].partition(", similarity ")
            assert (
                where.endswith(f" row {row}")
                and where.split()[0] not in (f"{kind}.jsonl", "")
                and float(similar) >= 0.7
            )


def test_near_duplicates_pass_where_they_are_not_looked_for(tmp_path: Path) -> None:
    evaluated = [{"prompt": sentence(topic)} for topic in TOPICS]
    counts = read_files(tmp_path, {"prompts": about("prompts", "Please")}, evaluated)["prompts"].counts
    assert (counts.written, counts.by_rule) == (24, {})


def test_the_same_prompt_is_counted_as_the_same_and_not_as_near(tmp_path: Path) -> None:
    evaluated = [{"prompt": f"Please {sentence(topic)}"} for topic in TOPICS[:5]]
    by_rule = read_files(tmp_path, {"prompts": about("prompts", "please")}, evaluated, near=0.7)[
        "prompts"
    ].counts.by_rule
    assert set(by_rule) == {"prompt_not_held_out"}


def test_a_near_duplicate_refuses_the_data_where_the_rule_is_fatal(tmp_path: Path) -> None:
    evaluated = [{"prompt": sentence(topic)} for topic in TOPICS[:5]]
    contract = ContractConfig(max_quarantined=1.0, rules={"prompt_near_held_out": "fatal"})
    rows: dict[Kind, Rows] = {"prompts": about("prompts", "Please")}
    (problem,) = read_files(tmp_path, rows, evaluated, contract=contract, near=0.7)["prompts"].problems()
    assert str(problem).startswith("prompts break fatal rules of their contract\n  ")
    assert "prompt_near_held_out (" in str(problem) and "or raise contract.near_held_out, the " in str(problem)


def test_the_share_that_may_be_quarantined_is_one_for_all_tables_or_by_table(tmp_path: Path) -> None:
    rows = [*pairs(45), *({"prompt": f"empty {i}", "chosen": "", "rejected": "no"} for i in range(5))]
    for allowed, refused in ((0.1, False), (0.09, True), (TableShares(preferences=0.1), False), (TableShares(), True)):
        folder = tmp_path / str(hash(str(allowed)))
        contract = ContractConfig(max_quarantined=allowed)
        made = make_tables({"preferences": reads("preferences", rows)}, SHARES, contract, folder=folder, clock=Clock())
        assert bool(made["preferences"].problems()) == refused
    assert TableShares(preferences=0.1).prompts == 0.05


def test_a_refusal_says_the_largest_reasons_of_all_tables_before_any_place(tmp_path: Path) -> None:
    spoilt = [("chosen", "", 4), ("rejected", "", 3), ("prompt", "", 2)]
    rows = pairs(40)
    places = iter(range(40))
    for field, text, count in spoilt:
        for place in [next(places) for _ in range(count)]:
            rows[place][field] = text
    rows.append(dict(rows[-1]))
    asked = [{"prompt": row["prompt"]} for row in pairs(20)]
    tables: dict[Kind, Any] = {"preferences": reads("preferences", rows), "prompts": reads("prompts", asked * 2)}
    made = make_tables(tables, SHARES, ContractConfig(), folder=tmp_path / "work", clock=Clock())
    problems = tuple(problem for table in made.values() for problem in table.problems())
    assert all(isinstance(problem, QuarantineExceeded) for problem in problems)
    lines = str(DataRefused(problems)).splitlines()
    starts = [
        "the data are refused and nothing was written",
        "preferences: 10 of 41 records would be quarantined, more than the share of 0.05 that contract.max_quarantined",
        "  9.8% chosen_not_empty (4). Mend: fill in chosen, or remove the row (field chosen: chosen is empty",
        "  7.3% rejected_not_empty (3). Mend: ",
        "  4.9% prompt_not_empty (2). Mend: ",
        "prompts: 20 of 40 records would be quarantined",
        "  50.0% not_repeated (20). Mend: remove the copy (field prompt: an earlier row has the same prompt)",
        "  preferences, chosen_not_empty (4). Mend: fill in chosen",
        "    made-up.jsonl row 1, field chosen: chosen is empty",
    ]
    assert [line[: len(start)] for line, start in zip(lines, starts, strict=False)] == starts
    assert any(line.startswith("  preferences, not_repeated (1)") for line in lines[len(starts) :])
    assert sum("Mend: remove the copy" in line for line in lines) == 3


def test_one_rule_on_the_shape_of_rows_tells_its_reasons_apart(tmp_path: Path) -> None:
    rows = pairs(10)
    for row in rows[:3]:
        del row["rejected"]
    rows[5]["margin"] = "many"
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    data = FileData(preferences=(FileSource(path=str(path), format="trl"),))
    made = make_tables(open_sources(data, seed=0), SHARES, ContractConfig(), folder=tmp_path / "work", clock=Clock())
    (problem,) = made["preferences"].problems()
    assert isinstance(problem, RowsRefused)
    assert [line.split(". Mend")[0] for line in problem.reasons[1:]] == [
        "  30.0% fits_format (3)",
        "  10.0% fits_format (1)",
    ]
    assert problem.reasons[1].endswith("(field rejected: is missing)")


@pytest.mark.parametrize("records", [1, 20])
def test_a_table_of_one_kind_of_rows_only_is_judged_by_its_own_share(records: int, tmp_path: Path) -> None:
    quarantine = Quarantine("prompts", tmp_path / "aside.csv", ContractConfig(max_quarantined=TableShares(prompts=0.1)))
    quarantine.rows = 1
    assert (quarantine.judge(records) is None) == (records == 20)
