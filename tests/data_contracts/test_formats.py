"""Formats on made-up rows: what they give, what they leave out, and what they refuse by field."""

from typing import Any

import pytest

from data_contracts.conversation import read_conversation, roles_alternate, write_conversation
from data_contracts.formats.convert import Batch, Cast, SourceRow, convert_rows
from data_contracts.formats.items import LeftOut
from data_contracts.formats.registry import FORMATS, adapter, has, recognise
from data_contracts.records import COLUMNS, Kind
from tests.data_contracts.violations import find_violations

SECRET = "zebra umbrella"


def convert(name: str, kind: Kind, *rows: dict[str, Any], synthetic: bool = False) -> Batch:
    numbered = [SourceRow("raw.jsonl", number, row) for number, row in enumerate(rows, start=1)]
    return convert_rows(kind, FORMATS[name][kind].convert, numbered, synthetic=synthetic)


def records(name: str, kind: Kind, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    batch = convert(name, kind, *rows)
    assert not batch.misfits
    return [
        {name: cell for name, cell in record.items() if name not in ("source", "group")}
        for record in batch.frame.to_dict("records")
    ]


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


def transcript(*turns: str) -> str:
    return "".join(
        f"\n\n{name}: {turn}" for name, turn in zip(("Human", "Assistant") * len(turns), turns, strict=False)
    )


def reply(text: str, role: str = "assistant", **fields: Any) -> dict[str, Any]:
    return {"text": text, "role": role, "replies": [], **fields}


def tree() -> dict[str, Any]:
    follow_up = reply("And cold?", "prompter", replies=[reply("Use ice.", rank=0)])
    replies = [
        reply("Badly.", rank=1),
        reply("In a pot.", rank=0, replies=[follow_up]),
        reply("As a machine says.", rank=2, synthetic=True),
        reply("Unranked."),
    ]
    return {"message_tree_id": "tree-1", "prompt": reply("How do I boil water?", "prompter", replies=replies)}


def annotation(selected: str | None, **fields: Any) -> dict[str, Any]:
    return {"result": [{"type": "pairwise", "value": {"selected": selected}}], **fields}


PAIR = {
    "prompt": "How?",
    "chosen": "So.",
    "rejected": "No.",
    "votes_chosen": 1,
    "votes_rejected": 0,
    "votes_tied": 0,
    "grade": 0.0,
    "row": 1,
}
TWO_TURNS = [user("Hi"), assistant("Hello"), user("How?")]

GIVEN: list[tuple[str, Kind, dict[str, Any], list[dict[str, Any]]]] = [
    (
        "trl",
        "preferences",
        {"prompt": "How?", "chosen": "So.", "rejected": "No.", "margin": 2, "score_chosen": 9, "score_rejected": 1},
        [PAIR | {"grade": 2}],
    ),
    (
        "trl",
        "preferences",
        {"prompt": "How?", "chosen": "So.", "rejected": "No.", "score_chosen": 9, "score_rejected": 6.5},
        [PAIR | {"grade": 2.5}],
    ),
    (
        "trl",
        "preferences",
        {"prompt": "How?", "chosen": "So.", "rejected": "No.", "chosen-rating": " 8.5 ", "rejected-rating": "3e0"},
        [PAIR | {"grade": 5.5}],
    ),
    (
        "ranked",
        "preferences",
        {"prompt": "How?", "responses": ["No.", "So.", "Hm."], "ranks": [2, 1, 2]},
        [PAIR, PAIR | {"rejected": "Hm."}],
    ),
    ("ranked", "prompts", {"prompt": "How?", "responses": [], "ranks": []}, [{"prompt": "How?", "row": 1}]),
    ("rewardbench", "preferences", {"subset": "s", "prompt": "How?", "chosen": "So.", "rejected": "No."}, [PAIR]),
    (
        "rewardbench",
        "preferences",
        {
            "subset": "s",
            "prompt": "not read, as the conversations hold it",
            "chosen": [*TWO_TURNS, assistant("So.")],
            "rejected": [*TWO_TURNS, assistant("No.")],
        },
        [{**PAIR, "prompt": write_conversation(TWO_TURNS)}],
    ),
    (
        "rewardbench",
        "preferences",
        {"subset": "s", "prompt": TWO_TURNS, "chosen": [assistant("So.")], "rejected": [assistant("No.")]},
        [{**PAIR, "prompt": write_conversation(TWO_TURNS)}],
    ),
    (
        "rewardbench",
        "prompts",
        {"subset": "s", "prompt": "How?", "chosen": "So.", "rejected": "No."},
        [{"prompt": "How?", "row": 1}],
    ),
    (
        "argilla",
        "preferences",
        {
            "fields": {"prompt": "How?", "response_1": "No.", "response_2": "So."},
            "responses": {"which": [{"value": "response_2", "user_id": "u"}]},
        },
        [PAIR],
    ),
    ("argilla", "prompts", {"fields": {"prompt": "How?"}, "responses": {}}, [{"prompt": "How?", "row": 1}]),
    (
        "label-studio",
        "demonstrations",
        {
            "data": {"chat": [user("Hi")]},
            "annotations": [
                {"result": [{"type": "chatmessage", "from_name": "c", "value": {"chatmessage": assistant("So.")}}]}
            ],
        },
        [{"prompt": "Hi", "response": "So.", "row": 1}],
    ),
    ("trl", "prompts", {"prompt": " How? "}, [{"prompt": "How?", "row": 1}]),
    ("trl", "prompts", {"prompt": [user("How?")]}, [{"prompt": "How?", "row": 1}]),
    ("trl", "prompts", {"prompt": TWO_TURNS}, [{"prompt": write_conversation(TWO_TURNS), "row": 1}]),
    (
        "trl",
        "demonstrations",
        {"prompt": "How?", "completion": " So."},
        [{"prompt": "How?", "response": "So.", "row": 1}],
    ),
    (
        "trl",
        "demonstrations",
        {"prompt": [user("How?")], "completion": [assistant("So.")]},
        [{"prompt": "How?", "response": "So.", "row": 1}],
    ),
    (
        "trl",
        "demonstrations",
        {"messages": [*TWO_TURNS, assistant("So.")], "prompt": "Hi"},
        [{"prompt": write_conversation(TWO_TURNS), "response": "So.", "row": 1}],
    ),
    (
        "trl",
        "preferences",
        {"prompt": "How?", "chosen": [user("How?"), assistant("So.")], "rejected": [user("How?"), assistant("No.")]},
        [PAIR],
    ),
    ("trl", "preferences", {"prompt": "How?", "chosen": [assistant("So.")], "rejected": [assistant("No.")]}, [PAIR]),
    ("trl", "preferences", {"prompt": "How?", "chosen": " So.", "rejected": " No."}, [PAIR]),
    ("trl", "preferences", {"chosen": "How? So.", "rejected": "How? No."}, [PAIR]),
    (
        "trl",
        "preferences",
        {"prompt": [user("How?")], "chosen": [assistant("So.")], "rejected": [assistant("No.")]},
        [PAIR],
    ),
    (
        "trl",
        "preferences",
        {"chosen": [user("How?"), assistant("So.")], "rejected": [user("How?"), assistant("No.")]},
        [PAIR],
    ),
    (
        "trl",
        "preferences",
        {"prompt": "How?", "chosen": "So.", "rejected": "No.", "votes_chosen": 3, "votes_rejected": 2},
        [PAIR | {"votes_chosen": 3, "votes_rejected": 2}],
    ),
    ("hh-rlhf", "preferences", {"chosen": transcript("How?", "So."), "rejected": transcript("How?", "No.")}, [PAIR]),
    (
        "hh-rlhf",
        "prompts",
        {"chosen": transcript("Hi", "Hello", "How?", "So."), "rejected": ""},
        [{"prompt": write_conversation(TWO_TURNS), "row": 1}],
    ),
    (
        "hh-rlhf",
        "demonstrations",
        {"chosen": transcript("How?", "So."), "rejected": ""},
        [{"prompt": "How?", "response": "So.", "row": 1}],
    ),
    (
        "self-instruct",
        "demonstrations",
        {"instruction": "Name it.", "instances": [{"input": "grass", "output": "green"}, {"input": "", "output": "x"}]},
        [
            {"prompt": "Name it.\n\ngrass", "response": "green", "row": 1},
            {"prompt": "Name it.", "response": "x", "row": 1},
        ],
    ),
    (
        "self-instruct",
        "prompts",
        {"instruction": "Name it.", "instances": [{"input": ""}]},
        [{"prompt": "Name it.", "row": 1}],
    ),
    (
        "pandalm",
        "preferences",
        {
            "instruction": "How?",
            "input": "",
            "response1": "No.",
            "response2": "So.",
            "annotator1": 2,
            "annotator2": 0,
            "annotator3": None,
        },
        [PAIR | {"votes_tied": 1}],
    ),
    ("llmbar", "preferences", {"input": "How?", "output_1": "So.", "output_2": "No.", "label": 1}, [PAIR]),
    (
        "votes",
        "preferences",
        {"prompt": "How?", "response_a": "No.", "response_b": "So.", "votes": ["b", "b", "a", "tie", None]},
        [PAIR | {"votes_chosen": 2, "votes_rejected": 1, "votes_tied": 1}],
    ),
    (
        "pandalm",
        "prompts",
        {"instruction": "Name it.", "input": "grass", "response1": "", "response2": "", "annotator1": 0},
        [{"prompt": "Name it.\n\ngrass", "row": 1}],
    ),
    (
        "llmbar",
        "prompts",
        {"input": "How?", "output_1": "So.", "output_2": "No.", "label": 1},
        [{"prompt": "How?", "row": 1}],
    ),
    (
        "votes",
        "prompts",
        {"prompt": "How?", "response_a": "", "response_b": "", "votes": []},
        [{"prompt": "How?", "row": 1}],
    ),
    ("label-studio", "prompts", {"data": {"prompt": "How?"}, "annotations": []}, [{"prompt": "How?", "row": 1}]),
    ("mt-bench", "prompts", {"question_id": 1, "turns": ["How?", "And now?"]}, [{"prompt": "How?", "row": 1}]),
    (
        "label-studio",
        "preferences",
        {
            "id": 7,
            "data": {"prompt": "How?", "answer1": "So.", "answer2": "No."},
            "annotations": [
                annotation("left"),
                annotation("left"),
                annotation("right"),
                annotation(None),
                annotation("right", was_cancelled=True),
                {"result": []},
                {"result": None},
            ],
        },
        [PAIR | {"votes_chosen": 2, "votes_rejected": 1, "votes_tied": 1}],
    ),
]


@pytest.mark.parametrize(("name", "kind", "row", "expected"), GIVEN)
def test_a_row_gives_its_records(name: str, kind: Kind, row: dict[str, Any], expected: list[dict[str, Any]]) -> None:
    assert recognise(row) == name
    assert records(name, kind, row) == expected


def test_every_format_and_kind_is_shown_above() -> None:
    shown = {(name, kind) for name, kind, _, _ in GIVEN} | {("oasst", kind) for kind in COLUMNS}
    assert shown == {(name, kind) for name, kinds in FORMATS.items() for kind in kinds}


def test_oasst_gives_ranked_human_replies_with_the_conversation_before_them() -> None:
    row = tree()
    assert recognise(row) == "oasst"
    batch = convert("oasst", "demonstrations", row)
    assert dict(zip(batch.frame["prompt"], batch.frame["response"], strict=True)) == {
        "How do I boil water?": "In a pot.",
        write_conversation([user("How do I boil water?"), assistant("In a pot."), user("And cold?")]): "Use ice.",
    }
    assert set(batch.frame["group"]) == {"tree-1"}
    assert batch.left_out == {"synthetic message": 1, "reply without a rank": 1}
    pairs = convert("oasst", "preferences", row)
    assert pairs.frame[["chosen", "rejected"]].to_numpy().tolist() == [["In a pot.", "Badly."]]
    assert pairs.left_out == batch.left_out
    assert convert("oasst", "prompts", row).frame["prompt"].tolist() == ["How do I boil water?"]


def test_what_follows_a_synthetic_question_is_no_record() -> None:
    row = tree()
    row["prompt"]["synthetic"] = True
    assert convert("oasst", "demonstrations", row).frame.empty
    assert convert("oasst", "prompts", row).left_out == {"synthetic message": 1}


def test_ties_and_missing_votes_are_left_out_and_counted() -> None:
    row = {"prompt": "How?", "response_a": "No.", "response_b": "So."}
    batch = convert(
        "votes", "preferences", row | {"votes": ["a", "b"]}, row | {"votes": [None]}, row | {"votes": ["tie"]}
    )
    assert batch.left_out == {"a tie of the votes": 2, "no vote": 1} and batch.frame.empty


@pytest.mark.parametrize(
    ("name", "row", "votes"),
    [
        ("votes", {"prompt": "How?", "response_a": "No.", "response_b": "So.", "votes": ["a", "b", "tie"]}, (1, 1, 1)),
        ("votes", {"prompt": "How?", "response_a": "So.", "response_b": "No.", "votes": ["tie"]}, (0, 0, 1)),
        ("ranked", {"prompt": "How?", "responses": ["So.", "No."], "ranks": [1, 1]}, (0, 0, 1)),
    ],
)
def test_ties_are_records_where_they_are_kept_and_their_order_says_nothing(
    name: str, row: dict[str, Any], votes: tuple[int, ...]
) -> None:
    swapped = {**row, "responses": row.get("responses", [])[::-1]}
    swapped |= {"response_a": row.get("response_b"), "response_b": row.get("response_a")}
    found = [
        convert_rows(
            "preferences", FORMATS[name]["preferences"].convert, [SourceRow("raw.jsonl", 1, given)], ties=True
        ).frame
        for given in (row, swapped)
    ]
    assert not find_violations("preferences", found[0])
    assert tuple(found[0].loc[0, ["votes_chosen", "votes_rejected", "votes_tied"]]) == votes
    assert found[0].equals(found[1])


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"ranks": [1]}, "ranks"),
        ({"ranks": [1, 2, 3]}, "has 3 ranks for 2 responses"),
        ({"ranks": [1, "second"]}, "something other than numbers"),
        ({"responses": "So."}, "is not a list of at least two"),
    ],
)
def test_rankings_that_are_none_are_refused(fields: dict[str, Any], says: str) -> None:
    row = {"prompt": "How?", "responses": ["So.", "No."], "ranks": [1, 2], **fields}
    (misfit,) = convert("ranked", "preferences", row).misfits
    assert says in f"{misfit.field} {misfit.reason}"


BALLOTS: list[tuple[str, dict[str, Any], tuple[tuple[str | None, int], ...]]] = [
    (
        "pandalm",
        {
            "instruction": "How?",
            "input": "",
            "response1": True,
            "response2": "",
            "annotator1": 2,
            "annotator2": "0",
            "annotator3": None,
        },
        (("annotator 1", 2), ("annotator 2", 0)),
    ),
    (
        "votes",
        {"prompt": "How?", "response_a": "", "response_b": "", "votes": ["a", None, "tie", "b"]},
        ((None, 1), (None, 0), (None, 2)),
    ),
    (
        "votes",
        {"prompt": [user("How?")], "response_a": "", "response_b": "", "votes": {"ann": "a", "bo": None, "cy": "b"}},
        (("ann", 1), ("cy", 2)),
    ),
    (
        "label-studio",
        {
            "data": {"prompt": "How?", "answer1": "", "answer2": ""},
            "annotations": [
                annotation("left") | {"completed_by": 7},
                annotation("right", was_cancelled=True) | {"completed_by": 8},
                annotation("right") | {"completed_by": {"id": 9, "email": SECRET}},
                annotation(None) | {"completed_by": SECRET},
            ],
        },
        (("annotator 7", 1), ("annotator 9", 2), (None, 0)),
    ),
]


@pytest.mark.parametrize(("name", "row", "votes"), BALLOTS)
def test_votes_are_kept_by_annotator_whatever_the_pair_is_good_for(
    name: str, row: dict[str, Any], votes: tuple[tuple[str | None, int], ...]
) -> None:
    (cast,) = convert(name, "preferences", row).votes
    assert cast == Cast("raw.jsonl", 1, "How?", votes, cast.texts)
    assert cast.texts[0] == "How?" and len(cast.texts) == 3


def test_one_vote_is_no_ballot() -> None:
    row = {"prompt": "How?", "response_a": "No.", "response_b": "So.", "votes": {"ann": "a", "bo": None}}
    batch = convert("votes", "preferences", row)
    assert batch.votes == [] and len(batch.frame) == 1


def test_rows_marked_synthetic_are_used_only_where_allowed() -> None:
    row = {"prompt": "How?", "completion": "So.", "synthetic": True}
    assert convert("trl", "demonstrations", row).left_out == {"synthetic row": 1}
    assert len(convert("trl", "demonstrations", row, synthetic=True).frame) == 1


def test_conversations_keep_their_roles_and_share_a_group_by_their_opening() -> None:
    batch = convert(
        "hh-rlhf",
        "prompts",
        {"chosen": transcript("My kettle leaks.", "Where?", "At the lid.", "Turn it.")},
        {"chosen": transcript("My kettle leaks.", "Buy one.")},
    )
    assert set(batch.frame["group"]) == {"My kettle leaks."}
    turns = read_conversation(batch.frame["prompt"].iloc[0])
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[-1]["content"] == "At the lid."


@pytest.mark.parametrize(
    ("messages", "holds"),
    [
        ([user("a")], True),
        ([{"role": "system", "content": "s"}, user("a")], True),
        ([user("a"), assistant("b"), user("c")], True),
        ([user("a"), assistant("b")], False),
        ([user("a"), assistant("b"), assistant("b"), user("c")], False),
        ([assistant("b"), user("c")], False),
    ],
)
def test_alternating_roles(messages: list[Any], holds: bool) -> None:
    assert roles_alternate(write_conversation(messages)) == holds


def test_plain_text_that_looks_like_json_stays_one_turn() -> None:
    for text in ('[{"role": "user"}]', '[{"role": ', "[1, 2]"):
        assert read_conversation(text) == [user(text)]


WRONG: list[tuple[str, Kind, dict[str, Any], str, str]] = [
    (
        "trl",
        "preferences",
        {"chosen": [user(SECRET)], "rejected": [user(SECRET)]},
        "chosen",
        "does not end with an answer",
    ),
    ("trl", "demonstrations", {"messages": [user("a"), user(SECRET)]}, "messages", "does not end with an answer"),
    ("trl", "demonstrations", {"messages": [assistant(SECRET)]}, "messages", "does not end with an answer"),
    ("trl", "preferences", {"chosen": "a b", "rejected": "x y"}, "rejected", "shares no beginning"),
    ("trl", "preferences", {"prompt": "a", "chosen": SECRET}, "rejected", "is missing"),
    ("trl", "preferences", {"chosen": SECRET, "rejected": 5}, "rejected", "is not text"),
    ("trl", "prompts", {"prompt": [{"role": SECRET, "content": ""}]}, "prompt", "role is not one of"),
    ("trl", "prompts", {"prompt": [{"role": "user", "content": 5}]}, "prompt", "content is not text"),
    ("trl", "prompts", {"prompt": []}, "prompt", "holds no message"),
    ("hh-rlhf", "preferences", {"chosen": transcript("a", SECRET)}, "rejected", "is missing"),
    (
        "hh-rlhf",
        "preferences",
        {"chosen": transcript("a", "b"), "rejected": transcript("c", "d")},
        "rejected",
        "another",
    ),
    ("hh-rlhf", "prompts", {"chosen": [SECRET]}, "chosen", "is not text"),
    ("hh-rlhf", "prompts", {"chosen": SECRET}, "chosen", "is not a transcript"),
    ("hh-rlhf", "prompts", {"chosen": transcript("a")}, "chosen", "does not end with an answer"),
    ("self-instruct", "demonstrations", {"instruction": SECRET}, "instances", "is missing"),
    (
        "self-instruct",
        "demonstrations",
        {"instruction": SECRET, "instances": [SECRET]},
        "instances",
        "is not a list of",
    ),
    ("self-instruct", "demonstrations", {"instruction": 5, "instances": [{"input": ""}]}, "instruction", "is not text"),
    ("oasst", "demonstrations", {"message_tree_id": "t", "prompt": SECRET}, "prompt", "is not a message"),
    ("oasst", "demonstrations", {"message_tree_id": "t", "prompt": reply(SECRET, SECRET)}, "role", "is not one of"),
    (
        "oasst",
        "preferences",
        {"message_tree_id": "t", "prompt": reply("a", "prompter", replies=[reply("b", rank=SECRET)])},
        "rank",
        "is not a whole number",
    ),
    ("llmbar", "preferences", {"input": "", "output_1": "", "output_2": "", "label": SECRET}, "label", "is not 1, 2"),
    (
        "votes",
        "preferences",
        {"prompt": "", "response_a": "", "response_b": "", "votes": [SECRET]},
        "votes",
        "holds something other than",
    ),
    (
        "votes",
        "preferences",
        {"prompt": "", "response_a": "", "response_b": "", "votes": {"ann": SECRET}},
        "votes",
        "holds something other than",
    ),
    (
        "votes",
        "preferences",
        {"prompt": "", "response_a": "", "response_b": "", "votes": SECRET},
        "votes",
        "is neither",
    ),
    ("votes", "preferences", {"prompt": "", "response_a": "", "response_b": "", "votes": 5}, "votes", "is neither"),
    ("label-studio", "prompts", {"data": SECRET, "annotations": []}, "data", "is not an object"),
    ("label-studio", "preferences", {"data": {"prompt": SECRET}, "annotations": []}, "data", "has none of the pairs"),
]


@pytest.mark.parametrize(("name", "kind", "row", "field", "reason"), WRONG)
def test_a_row_of_another_shape_is_named_and_not_shown(
    name: str, kind: Kind, row: dict[str, Any], field: str, reason: str
) -> None:
    batch = convert(name, kind, row)
    (misfit,) = batch.misfits
    assert batch.frame.empty
    assert (misfit.source, misfit.row, misfit.field) == ("raw.jsonl", 1, field)
    assert reason in misfit.reason and SECRET not in str(misfit)


def test_a_cell_that_is_no_text_is_left_to_the_contract() -> None:
    row = {"instruction": "How?", "input": "", "response1": True, "response2": "So.", "annotator1": 1}
    found = find_violations("preferences", convert("pandalm", "preferences", row).frame)
    assert [(item.row, item.rule) for item in found] == [(1, "chosen_is_text")]


def test_one_decorated_function_adds_a_format() -> None:
    @adapter("winners", "preferences", fits=has("winner", "loser"))
    def winners(row: dict[str, Any]) -> Any:
        yield {"prompt": row["question"], "chosen": row["winner"], "rejected": row["loser"]}
        yield LeftOut("a note")

    try:
        row = {"question": "How?", "winner": "So.", "loser": "No.", "prompt": "shadowed"}
        assert recognise(row) == "winners"
        assert records("winners", "preferences", row) == [PAIR]
    finally:
        del FORMATS["winners"]
