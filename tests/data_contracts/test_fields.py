"""What a row says in other ways: numbers and conversations as text, null for absent, and rows that look like more."""

import json
from typing import Any

import pytest

from data_contracts.conversation import write_conversation
from data_contracts.formats.convert import Batch, SourceRow, convert_rows
from data_contracts.formats.registry import FORMATS, SeveralFormats, adapter, has, recognise
from data_contracts.records import Kind
from data_contracts.sameness import is_blank, loose_form, same_form
from data_contracts.schemas.preferences import aggregate_votes
from tests.data_contracts.violations import find_violations

PAIR = {"prompt": "How?", "chosen": "So.", "rejected": "No."}
ASKED = [{"role": "user", "content": "How?"}]
LONG = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}, *ASKED]


def convert(kind: Kind, *rows: dict[str, Any], name: str | None = None, ties: bool = False) -> Batch:
    name = name or recognise(rows[0])
    assert name is not None
    numbered = [SourceRow("raw.jsonl", number, row) for number, row in enumerate(rows, start=1)]
    return convert_rows(kind, FORMATS[name][kind].convert, numbered, ties=ties)


def answered(text: str) -> list[dict[str, str]]:
    return [*ASKED, {"role": "assistant", "content": text}]


def outcome(row: dict[str, Any]) -> Any:
    """The cells of the one record of a row, or why there is none."""
    batch = convert("preferences", row)
    if batch.misfits:
        return batch.misfits[0].rule, batch.misfits[0].field
    return dict(batch.left_out) or {
        name: cell for name, cell in batch.frame.iloc[0].items() if name not in ("source", "row")
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"score_chosen": 7.0, "score_rejected": "7"}, "tie"),
        ({"votes_chosen": 2, "votes_rejected": "2"}, "tie"),
        ({"votes_chosen": 0, "votes_rejected": 0, "votes_tied": 1}, "tie"),
        ({"score_chosen": 6, "score_rejected": 7}, ("scores_favour_chosen", "score_rejected")),
        ({"chosen_score": 6, "rejected_score": 7, "margin": 2}, ("scores_favour_chosen", "rejected_score")),
        ({"chosen_reward": 6, "rejected_reward": "6.0"}, "tie"),
        ({"rejected_overall_score": 7, "chosen_overall_score": 6}, ("scores_favour_chosen", "rejected_overall_score")),
        ({"mean-rating-chosen": 6, "mean-rating-rejected": 4, "chosen_score_by": "ann", "chosen_tokens": 1}, 2),
        ({"score_chosen": 6, "score_rejected": 5, "chosen_reward": 1, "rejected_reward": 2}, 1),
        ({"margin": "much"}, ("fits_format", "margin")),
        ({"score_chosen": "8,5", "score_rejected": 3}, ("fits_format", "score_chosen")),
        ({"score_chosen": True, "score_rejected": 0}, ("fits_format", "score_chosen")),
        ({"score_chosen": 3, "score_rejected": None}, ("fits_format", "score_rejected")),
        ({"score_rejected": 3}, ("fits_format", "score_chosen")),
        ({"score_chosen": float("inf"), "score_rejected": 1}, ("fits_format", "score_chosen")),
        ({"score_chosen": 10**400, "score_rejected": 1}, ("fits_format", "score_chosen")),
        ({"score_chosen": "1e3", "score_rejected": " 3 "}, 997),
        ({"score_chosen": "", "score_rejected": None, "margin": "2"}, 2),
        ({"score_chosen": 5, "score_rejected": 5, "margin": 2}, 2),
    ],
)
def test_scores_votes_and_margins_say_what_they_say_or_the_row_is_refused(
    fields: dict[str, Any], expected: object
) -> None:
    found = outcome(PAIR | fields)
    if expected == "tie":
        assert found == {"a tie of the votes": 1}
        kept = convert("preferences", PAIR | fields, ties=True).frame
        assert kept["votes_tied"].tolist() == [fields.get("votes_tied", "votes_chosen" not in fields)]
        assert kept["votes_chosen"].tolist() == kept["votes_rejected"].tolist()
    else:
        assert (found if isinstance(expected, tuple) else found["grade"]) == expected


def test_votes_as_text_are_counts_and_what_is_none_is_left_to_its_rule() -> None:
    batch = convert("preferences", *(PAIR | {"votes_chosen": cell} for cell in ("3", "3.0", "3.5", "many", "1e30")))
    assert batch.frame["votes_chosen"].tolist()[:2] == [3, 3.0]
    broken = [item.row for item in find_violations("preferences", batch.frame) if item.rule == "votes_chosen_is_count"]
    assert broken == [3, 4, 5]


SPARSE: list[tuple[Kind, dict[str, Any], dict[str, Any]]] = [
    (
        "preferences",
        PAIR,
        {"margin": None, "score_chosen": None, "votes_chosen": None, "messages": None, "tools": None},
    ),
    ("preferences", {"chosen": "How? So.", "rejected": "How? No."}, {"prompt": None}),
    ("preferences", {"chosen": answered("So."), "rejected": answered("No.")}, {"prompt": None, "subset": None}),
    ("demonstrations", {"messages": answered("So.")}, {"prompt": None, "completion": None}),
    ("demonstrations", {"prompt": "How?", "completion": "So."}, {"messages": None, "instances": None}),
    (
        "preferences",
        {"data": {"prompt": "How?", "text1": "So.", "text2": "No."}, "annotations": [{"result": []}]},
        {"data": {"prompt": "How?", "answer1": None, "answer2": None, "text1": "So.", "text2": "No."}},
    ),
    ("preferences", {"instruction": "How?", "response1": "a", "response2": "b", "annotator1": 1}, {"input": None}),
    ("demonstrations", {"instruction": "How?", "instances": [{"output": "So."}]}, {"input": None, "annotator1": None}),
    (
        "prompts",
        {"message_tree_id": "t", "prompt": {"text": "How?", "role": "prompter"}},
        {"prompt": {"text": "How?", "role": "prompter", "replies": None, "synthetic": None, "rank": None}},
    ),
]


@pytest.mark.parametrize(("kind", "row", "nulls"), SPARSE)
def test_null_is_as_good_as_absent(kind: Kind, row: dict[str, Any], nulls: dict[str, Any]) -> None:
    assert recognise(row | nulls) == recognise(row)
    with_nulls, without = convert(kind, row | nulls), convert(kind, row)
    assert not without.misfits and with_nulls.frame.equals(without.frame)
    assert with_nulls.left_out == without.left_out


def test_nobody_s_verdict_is_no_vote() -> None:
    for row in (
        {"prompt": "How?", "response_a": "So.", "response_b": "No.", "votes": None},
        {"instruction": "How?", "input": "", "response1": "a", "response2": "b", "annotator1": None},
        {"input": "How?", "output_1": "So.", "output_2": "No.", "label": None},
        {"data": {"prompt": "How?", "text1": "So.", "text2": "No."}, "annotations": None},
    ):
        assert outcome(row) == {"no vote": 1}


@pytest.mark.parametrize(
    ("cell", "field"),
    [
        (repr(answered("So.")), "chosen"),
        ("[{'content': 'How?', 'role': 'user'}\n {'content': 'So.', 'role': 'assistant'}]", "chosen"),
        ("array([{'role': 'user', 'content': 'How?'}], dtype=object)", "prompt"),
        ("{'role': 'assistant', 'content': 'So.'}", "chosen"),
        (json.dumps([{"from": "human", "value": "How?"}, {"from": "gpt", "value": "So."}]), "chosen"),
    ],
)
def test_a_conversation_printed_as_text_is_refused_by_its_field(cell: str, field: str) -> None:
    assert outcome(PAIR | {field: cell}) == ("fits_format", field)


def test_json_text_of_a_conversation_is_the_conversation() -> None:
    sides = {name: json.dumps([*LONG, {"role": "assistant", "content": PAIR[name]}]) for name in ("chosen", "rejected")}
    for prompt in ({}, {"prompt": "Hi"}, {"prompt": json.dumps(LONG)}):
        found = outcome({**sides, **prompt})
        assert (found["prompt"], found["chosen"], found["rejected"]) == (write_conversation(LONG), "So.", "No.")
    demonstration = convert("demonstrations", {"messages": json.dumps(answered("So."))}).frame
    assert demonstration[["prompt", "response"]].to_numpy().tolist() == [["How?", "So."]]


@pytest.mark.parametrize(
    "answer", ["['role', 'content']", '[{"role": "admin", "content": 1}]', "{'a': 1}", '[{"name": "user"}]', "[1, 2]"]
)
def test_an_answer_that_is_a_list_or_an_object_stays_an_answer(answer: str) -> None:
    assert outcome(PAIR | {"chosen": answer})["chosen"] == answer


@pytest.mark.parametrize("breaks", ["\n\n", "\n", "\r\n\r\n", "\r\n", "\n \n", "\n\n\n"])
@pytest.mark.parametrize("start", ["", "  ", "\n\n"])
def test_transcripts_are_read_however_their_line_breaks_came_through(breaks: str, start: str) -> None:
    sides = {
        name: start + breaks.join(["Human: Hi", "Assistant: Hello", "Human: How?", f"Assistant: {PAIR[name]} "])
        for name in ("chosen", "rejected")
    }
    assert recognise(sides) == "hh-rlhf"
    found = outcome(sides)
    assert (found["prompt"], found["chosen"], found["rejected"]) == (write_conversation(LONG), "So.", "No.")


@pytest.mark.parametrize(
    ("between", "human", "assistant"),
    [(" ", "Human", "Assistant"), ("\\n\\n", "human", "assistant"), ("\n\n", "### User", "### Assistant")],
)
def test_a_transcript_is_no_single_turn(between: str, human: str, assistant: str) -> None:
    asked = between.join([f"{human}: Hi", f"{assistant}: Hello", f"{human}: How?", f"{assistant}:"])
    sides = {name: f"{asked} I say {PAIR[name]}" for name in ("chosen", "rejected")}
    assert outcome(sides) == ("fits_format", "chosen")
    assert outcome(PAIR | {"prompt": asked}) == ("fits_format", "prompt")
    assert convert("demonstrations", {"prompt": asked, "completion": "So."}).misfits[0].field == "prompt"
    said = f"What does '{human}: Hi{between}{assistant}: Hello' mean?"
    assert outcome(PAIR | {"prompt": said})["prompt"] == said


def test_names_inside_a_turn_are_text_where_empty_lines_part_the_turns() -> None:
    chosen = "Human: How?\n\nAssistant: So.\nHuman: x\nAssistant: y"
    assert outcome({"chosen": chosen, "rejected": "Human: How?\n\nAssistant: No."})["chosen"] == chosen[24:].strip()


def test_a_prompt_that_is_a_transcript_keeps_its_roles() -> None:
    row = PAIR | {"prompt": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: How?\n\nAssistant:"}
    assert outcome(row)["prompt"] == write_conversation(LONG)
    assert convert("prompts", {"prompt": row["prompt"]}).frame["prompt"].tolist() == [write_conversation(LONG)]


@pytest.mark.parametrize(
    ("results", "says"),
    [
        ([{"type": "choices"}], "result by choices and none by Pairwise"),
        ([{"type": "rating"}, {"type": "textarea"}], "result by rating, textarea and none by Pairwise"),
        ([{"type": "ranker"}], "ranker"),
        ([{"type": "pairwise", "value": {"selected": "both"}}], "neither left nor right"),
        (
            [{"type": "pairwise", "from_name": name, "value": {"selected": "left"}} for name in ("safe", "helpful")],
            "several Pairwise controls",
        ),
    ],
)
def test_a_comparison_by_another_control_is_named(results: list[dict[str, Any]], says: str) -> None:
    row = {"data": {"prompt": "How?", "text1": "So.", "text2": "No."}, "annotations": [{"result": results}]}
    (misfit,) = convert("preferences", row).misfits
    assert misfit.rule == "fits_format" and says in misfit.reason


def test_equal_ranks_of_a_tree_are_a_tie() -> None:
    replies = [{"text": text, "role": "assistant", "rank": 0} for text in ("So.", "No.")]
    row = {"message_tree_id": "t", "prompt": {"text": "How?", "role": "prompter", "replies": replies}}
    assert outcome(row) == {"a tie of the votes": 1}


def test_precedence_decides_and_equal_ones_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"prompt": "How?", "chosen": "So.", "rejected": "No.", "subset": "s"}
    assert recognise(row) == "rewardbench"
    for order in (list(FORMATS), sorted(FORMATS), sorted(FORMATS, reverse=True)):
        monkeypatch.setattr("data_contracts.formats.registry.FORMATS", {name: FORMATS[name] for name in order})
        assert recognise(row) == "rewardbench"
        assert recognise(row | {"chosen": "\n\nHuman: How?\n\nAssistant: So."}) == "hh-rlhf"
    adapter("first", "prompts", fits=has("subset"))(lambda row: [])
    assert recognise(row) == "first"
    adapter("second", "prompts", fits=has("subset"))(lambda row: [])
    with pytest.raises(SeveralFormats, match="looks like first and second alike"):
        recognise(row)
    adapter("second", "prompts", fits=has("subset"), precedence=101)(lambda row: [])
    assert recognise(row) == "second"


@pytest.mark.parametrize(
    "text", ["", " \n", "\u200b\ufeff\u2060", "\u00ad \u200e\u202a\u2066", "\u3164", "\x00", "\u2800"]
)
def test_what_nobody_sees_is_blank(text: str) -> None:
    assert is_blank(text) and not is_blank(f"{text}.")
    batch = convert(
        "preferences", PAIR | {"chosen": text}, PAIR | {"prompt": [*LONG[:2], {"role": "user", "content": text}]}
    )
    rules = {(item.row, item.rule) for item in find_violations("preferences", batch.frame)}
    assert {(1, "chosen_not_empty"), (2, "prompt_not_empty")} <= rules


def test_texts_are_the_same_in_every_unicode_form() -> None:
    assert same_form("cafe\u0301") == same_form("caf\u00e9") == "caf\u00e9"
    assert same_form("\ufb01") != same_form("fi") and same_form("A") != same_form("a")
    for other in ("CAFE\u0301  x", "caf\u00e9\u200b\nx", "\uff43af\u00e9 x"):
        assert loose_form(other) == loose_form("caf\u00e9 x")
    assert loose_form("stra\u00dfe") == loose_form("STRASSE") and loose_form("cafe") != loose_form("caf\u00e9")


def test_votes_on_two_forms_of_a_pair_are_counted_together_and_the_text_stays_as_it_came() -> None:
    rows = [
        PAIR | {"chosen": "caf\u00e9"},
        PAIR | {"chosen": "cafe\u0301"},
        {**PAIR, "chosen": "No.", "rejected": "cafe\u0301"},
    ]
    frame = convert("preferences", *rows).frame
    broken = {(item.row, item.rule) for item in find_violations("preferences", frame)}
    assert broken == {(2, "not_repeated"), (1, "not_contradicted"), (2, "not_contradicted"), (3, "not_contradicted")}
    (merged,) = aggregate_votes(frame).to_dict("records")
    assert (merged["votes_chosen"], merged["votes_rejected"], merged["chosen"]) == (2, 1, "cafe\u0301")
    same = convert("preferences", PAIR | {"chosen": "caf\u00e9", "rejected": "cafe\u0301"}).frame
    assert "responses_differ" in {item.rule for item in find_violations("preferences", same)}
