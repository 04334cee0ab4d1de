"""Readers on small files of made-up text, and on the real files where they are at hand."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest

from data_contracts.preferences import aggregate_votes
from data_contracts.readers import READERS, Read, ReadError, read_json_lines, read_rows
from data_contracts.records import COLUMNS
from data_contracts.validation import find_violations

SECRET = "zebra umbrella"


def write(path: Path, rows: list[Any]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode(), mtime=0))
    else:
        path.write_text(text, encoding="utf-8")
    return path


def read(reader: str, path: Path) -> Read:
    known = READERS[reader]
    return read_rows(known.kind, known.convert, read_json_lines(path), source=path.name)


def transcript(*turns: str) -> str:
    return "".join(
        f"\n\n{name}: {turn}" for name, turn in zip(("Human", "Assistant") * len(turns), turns, strict=False)
    )


def reply(text: str, role: str = "assistant", **fields: Any) -> dict[str, Any]:
    return {"text": text, "role": role, "replies": [], **fields}


def test_hh_gives_prompt_chosen_rejected_and_groups_by_the_opening_turn(tmp_path: Path) -> None:
    rows = [
        {"chosen": transcript("My kettle leaks.", "Seal it."), "rejected": transcript("My kettle leaks.", "Buy one.")},
        {
            "chosen": transcript("My kettle leaks.", "Where?", "At the lid.", "Turn it."),
            "rejected": transcript("My kettle leaks.", "Where?", "At the lid.", "No idea."),
        },
    ]
    path = write(tmp_path / "hh.jsonl.gz", rows)
    frame = read("hh-rlhf-preferences", path).frame
    assert frame["prompt"].tolist() == [
        "My kettle leaks.",
        "My kettle leaks.\n\nAssistant: Where?\n\nHuman: At the lid.",
    ]
    assert frame["chosen"].tolist() == ["Seal it.", "Turn it."]
    assert frame["rejected"].tolist() == ["Buy one.", "No idea."]
    assert frame["group"].tolist() == ["My kettle leaks."] * 2
    assert frame.index.tolist() == [1, 2] and frame.index.name == "row"
    assert not find_violations("preferences", frame)
    assert read("hh-rlhf-prompts", path).frame["prompt"].tolist() == frame["prompt"].tolist()
    assert read("hh-rlhf-demonstrations", path).frame["response"].tolist() == frame["chosen"].tolist()


def test_hh_leaves_out_what_is_no_comparison_and_counts_why(tmp_path: Path) -> None:
    sound = transcript("Why?", "Because.")
    rows = [
        {"chosen": sound, "rejected": transcript("Why not?", "So.")},
        {"chosen": sound, "rejected": transcript("Why?", "")},
        {"chosen": sound, "rejected": sound},
        {"chosen": sound, "rejected": transcript("Why?", "So.", "And then?")},
        {"chosen": "no turns at all", "rejected": sound},
        {"chosen": sound, "rejected": transcript("Why?", "So.")},
    ]
    found = read("hh-rlhf-preferences", write(tmp_path / "hh.jsonl", rows))
    assert found.frame.index.tolist() == [6]
    assert found.skipped == {
        "the two transcripts differ before the last answer": 1,
        "an answer is empty": 1,
        "both answers are the same": 1,
        "the transcript does not end with an answer": 1,
        "the transcript has no question or no answer": 1,
    }


def test_self_instruct_gives_one_demonstration_for_each_instance(tmp_path: Path) -> None:
    rows = [
        {
            "instruction": "Name the colour.",
            "instances": [{"input": "grass", "output": "green"}, {"input": "", "output": "any"}],
        },
        {"instruction": "Say nothing.", "instances": [{"input": "", "output": " "}]},
    ]
    found = read("self-instruct-demonstrations", write(tmp_path / "seed.jsonl", rows))
    assert found.frame["prompt"].tolist() == ["Name the colour.\n\ngrass", "Name the colour."]
    assert found.frame["response"].tolist() == ["green", "any"]
    assert found.frame["group"].nunique() == 1
    assert found.frame.index.tolist() == [1, 1]
    assert found.skipped == {"no instance has an output": 1}


def tree() -> dict[str, Any]:
    follow_up = reply("And cold?", "prompter", replies=[reply("Use ice.", rank=0)])
    return {
        "message_tree_id": "tree-1",
        "prompt": reply(
            "How do I boil water?",
            "prompter",
            replies=[
                reply("Badly.", rank=1),
                reply("In a pot.", rank=0, replies=[follow_up]),
                reply("As a machine says.", rank=2, synthetic=True),
                reply("Unranked."),
            ],
        ),
    }


def test_oasst_gives_the_best_human_answer_to_every_question(tmp_path: Path) -> None:
    childless = {"message_tree_id": "tree-2", "prompt": reply("Anyone?", "prompter")}
    found = read("oasst-demonstrations", write(tmp_path / "trees.jsonl", [tree(), childless]))
    assert dict(zip(found.frame["prompt"], found.frame["response"], strict=True)) == {
        "How do I boil water?": "In a pot.",
        "How do I boil water?\n\nAssistant: In a pot.\n\nHuman: And cold?": "Use ice.",
    }
    assert set(found.frame["group"]) == {"tree-1"}
    assert found.skipped == {"no ranked human answer": 1}


def test_oasst_pairs_prefer_the_better_rank(tmp_path: Path) -> None:
    frame = read("oasst-preferences", write(tmp_path / "trees.jsonl", [tree()])).frame
    assert frame[["chosen", "rejected"]].to_numpy().tolist() == [["In a pot.", "Badly."]]


WRONG: list[tuple[str, Any, str]] = [
    ("hh-rlhf-preferences", {"chosen": transcript(SECRET, "yes")}, "field rejected: is not text"),
    ("hh-rlhf-prompts", {"chosen": [SECRET]}, "field chosen: is not text"),
    ("self-instruct-demonstrations", {"instruction": SECRET}, "field instances: is not a list of objects"),
    ("self-instruct-demonstrations", {"instruction": SECRET, "instances": [SECRET]}, "field instances: is not a list"),
    (
        "self-instruct-demonstrations",
        {"instruction": "a", "instances": [{"input": SECRET}]},
        "field output: is not text",
    ),
    ("oasst-demonstrations", {"message_tree_id": SECRET}, "field prompt: is not a message"),
    ("oasst-demonstrations", {"prompt": reply(SECRET, SECRET)}, "field role: is not one of prompter, assistant"),
    (
        "oasst-preferences",
        {"prompt": reply("a", "prompter", replies=[reply("b", rank=SECRET)])},
        "rank: is not a whole",
    ),
]


@pytest.mark.parametrize(("reader", "row", "message"), WRONG)
def test_a_row_of_another_format_is_named_and_not_shown(tmp_path: Path, reader: str, row: Any, message: str) -> None:
    sound: dict[str, Any] = {
        "chosen": transcript("Why?", "Because."),
        "rejected": transcript("Why?", "So."),
        "instruction": "Name it.",
        "instances": [{"input": "", "output": "it"}],
        **tree(),
    }
    path = write(tmp_path / "raw.jsonl", [sound, row])
    with pytest.raises(ReadError, match=message) as refused:
        read(reader, path)
    assert str(refused.value).startswith("raw.jsonl row 2, field ") and "mend the row" in str(refused.value)
    assert SECRET not in str(refused.value)


def test_a_truncated_gzip_file_is_called_damaged(tmp_path: Path) -> None:
    path = write(tmp_path / "hh.jsonl.gz", [{"chosen": f"{SECRET} {i * 7919}"} for i in range(2000)])
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ReadError, match=r"hh\.jsonl\.gz is damaged after row [1-9]\d*: fetch it again") as refused:
        list(read_json_lines(path))
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl.gz", b"not compressed", "a.jsonl.gz is damaged after row 0: fetch it again"),
        ("a.jsonl", b'{"a": 1}\n{"zebra umbrella"\n', "row 2: is not JSON .* mend the row"),
        ("a.jsonl", b'\n{"a": 1}\n["zebra umbrella"]\n', "row 3: is not a JSON object"),
        ("a.jsonl", b'{"a": "zebra umbrella \xff"}\n', "after row 0: is not UTF-8: convert the file"),
    ],
)
def test_a_damaged_file_is_named_and_not_shown(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ReadError, match=message) as refused:
        list(read_json_lines(tmp_path / name))
    assert SECRET not in str(refused.value)


def test_a_cell_that_no_file_can_hold_is_left_to_the_contract(tmp_path: Path) -> None:
    rows = [{"chosen": transcript("Why?", "Because \ud800."), "rejected": transcript("Why?", "So.")}]
    frame = aggregate_votes(read("hh-rlhf-preferences", write(tmp_path / "hh.jsonl", rows)).frame)
    assert [(item.source, item.row, item.rule) for item in find_violations("preferences", frame)] == [
        ("hh.jsonl", 1, "chosen_is_text")
    ]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"absent\.jsonl does not exist: check the path"):
        list(read_json_lines(tmp_path / "absent.jsonl"))


@pytest.mark.skipif("RLHF_DATA" not in os.environ, reason="RLHF_DATA names no folder with the real files")
@pytest.mark.parametrize(
    ("reader", "file", "rows", "left_out"),
    [
        ("hh-rlhf-preferences", "hh-rlhf/harmless-base-sample.jsonl.gz", 1495, 5),
        ("hh-rlhf-prompts", "hh-rlhf/harmless-base-sample.jsonl.gz", 1500, 0),
        ("self-instruct-demonstrations", "self-instruct/seed_tasks.jsonl", 175, 0),
        ("oasst-demonstrations", "oasst/en_100_tree.jsonl", 207, 5),
    ],
)
def test_the_real_files_meet_their_contract(reader: str, file: str, rows: int, left_out: int) -> None:
    kind = READERS[reader].kind
    found = read(reader, Path(os.environ["RLHF_DATA"]) / file)
    assert list(found.frame.columns) == list(COLUMNS[kind])
    assert (len(found.frame), sum(found.skipped.values())) == (rows, left_out)
    frame = aggregate_votes(found.frame) if kind == "preferences" else found.frame
    assert not [item.rule for item in find_violations(kind, frame)]
