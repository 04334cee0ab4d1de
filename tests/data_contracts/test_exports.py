"""Exports of Label Studio and Argilla in every shape in which they come: what people said, by whom, and what not."""

import json
from typing import Any

import pytest

from data_contracts.formats.convert import Batch, SourceRow, convert_rows
from data_contracts.formats.registry import FORMATS, recognise
from data_contracts.records import Kind


def convert(row: dict[str, Any], kind: Kind = "preferences") -> Batch:
    name = recognise(row)
    assert name is not None
    return convert_rows(kind, FORMATS[name][kind].convert, [SourceRow("export", 1, row)])


def said(row: dict[str, Any]) -> list[tuple[str, str, int, int, int]]:
    """Chosen, rejected and the votes of every pair that a row gives."""
    batch = convert(row)
    assert not batch.misfits
    names = ["chosen", "rejected", "votes_chosen", "votes_rejected", "votes_tied"]
    return [tuple(record[name] for name in names) for record in batch.frame.to_dict("records")]


def mark(kind: str, value: dict[str, Any], name: str = "control") -> dict[str, Any]:
    return {"type": kind, "from_name": name, "to_name": "x", "value": value, "id": "abc", "origin": "manual"}


def task(data: dict[str, Any], *results: list[dict[str, Any]]) -> dict[str, Any]:
    annotations = [
        {"id": number, "completed_by": number, "was_cancelled": False, "result": result}
        for number, result in enumerate(results, start=1)
    ]
    return {"id": 1, "data": data, "annotations": annotations, "predictions": []}


def minimal(data: dict[str, Any], **controls: Any) -> dict[str, Any]:
    """A row of JSON-MIN: the data, each control with its values, and who annotated when."""
    return {
        **data,
        **controls,
        "id": 1,
        "annotator": 7,
        "annotation_id": 3,
        "created_at": "",
        "updated_at": "",
        "lead_time": 2.5,
    }


def as_csv(row: dict[str, Any]) -> dict[str, Any]:
    return {name: json.dumps(cell) if isinstance(cell, list) else str(cell) for name, cell in row.items()}


PAIR = {"prompt": "How?", "answer1": "So.", "answer2": "No."}
LEFT = [mark("pairwise", {"selected": "left"})]
ITEMS = {
    "prompt": "How?",
    "items": [{"id": "a", "title": "1", "body": "A"}, {"id": "b", "body": "B"}, {"id": "c", "body": "C"}],
}
ORDER = {"ranker": {"rank": ["b", "a", "c"]}}
OTHER = {"ranker": {"rank": ["b", "c", "a"]}}

LABEL_STUDIO: dict[str, tuple[dict[str, Any], list[tuple[str, str, int, int, int]]]] = {
    "Pairwise": (task(PAIR, LEFT), [("So.", "No.", 1, 0, 0)]),
    "Pairwise by JSON-MIN": (minimal(PAIR, pw=[{"selected": "right"}]), [("No.", "So.", 1, 0, 0)]),
    "Pairwise by CSV": (as_csv(minimal(PAIR, pw=[{"selected": "left"}])), [("So.", "No.", 1, 0, 0)]),
    "nothing said in JSON-MIN": (minimal(PAIR), []),
    "nothing said in CSV": (as_csv(minimal(PAIR, pw="")), []),
    "Ranker": (task(ITEMS, [mark("ranker", ORDER)]), [("B", "A", 1, 0, 0), ("A", "C", 1, 0, 0), ("B", "C", 1, 0, 0)]),
    "Ranker by three": (
        task(ITEMS, *([mark("ranker", order)] for order in (ORDER, OTHER, OTHER))),
        [("B", "A", 3, 0, 0), ("C", "A", 2, 1, 0), ("B", "C", 3, 0, 0)],
    ),
    "Ranker by CSV": (
        as_csv(minimal(ITEMS, rank=[ORDER])),
        [("B", "A", 1, 0, 0), ("A", "C", 1, 0, 0), ("B", "C", 1, 0, 0)],
    ),
    "a list that nobody ranked": (task(ITEMS), []),
}


@pytest.mark.parametrize("shape", LABEL_STUDIO)
def test_comparisons_of_label_studio_are_votes_in_every_export(shape: str) -> None:
    row, expected = LABEL_STUDIO[shape]
    assert recognise(row) == "label-studio"
    assert said(row) == expected


def chat(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content, "createdAt": 1761626717856}


@pytest.mark.parametrize("shape", ["task", "JSON-MIN", "CSV"])
def test_a_chat_of_label_studio_is_a_demonstration_below_the_messages_of_its_task(shape: str) -> None:
    given = [{"role": "system", "content": "Be brief."}]
    written = [chat("user", "How?"), {**chat("assistant", "So."), "tool_calls": None}]
    row = task({"goal": "x", "start": given}, [mark("chatmessage", {"chatmessage": turn}, "chat") for turn in written])
    if shape != "task":
        row = minimal({"goal": "x", "start": given}, chat=written, chat_transcript="user: How?\nassistant: So.")
    (record,) = convert(as_csv(row) if shape == "CSV" else row, "demonstrations").frame.to_dict("records")
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How?"}]
    assert json.loads(record["prompt"]) == turns and record["response"] == "So."


def test_a_chat_that_ends_with_a_question_is_left_out() -> None:
    row = task({"start": []}, [mark("chatmessage", {"chatmessage": chat("user", "How?")}, "chat")])
    assert convert(row, "demonstrations").left_out["chat that does not end with an answer"] == 1


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (task(ITEMS, [mark("ranker", {"ranker": {"good": ["a"], "bad": ["b", "c"]}})]), "sorts items into buckets"),
        (task(ITEMS, [mark("ranker", {"ranker": {"rank": ["a", "b"]}})]), "does not rank each item of the list once"),
        (task(ITEMS, [mark("rating", {"rating": 3})]), "has a result by rating and none by Ranker"),
        (task({"prompt": "How?"}, LEFT), "has none of the pairs of texts answer1/answer2"),
        (task(PAIR, [*LEFT, mark("pairwise", {"selected": "left"}, "other")]), "by several Pairwise controls"),
        (minimal(PAIR, pw=[{"selected": "left"}], pw2=[{"selected": "right"}]), "by several Pairwise controls"),
    ],
)
def test_what_label_studio_does_not_compare_is_named(row: dict[str, Any], reason: str) -> None:
    (misfit,) = convert_rows(
        "preferences", FORMATS["label-studio"]["preferences"].convert, [SourceRow("e", 1, row)]
    ).misfits
    assert reason in misfit.reason


FIELDS = {"prompt": "How?", "response_1": "So.", "response_2": "No."}
ANN, BOB, CY = "6f7e-ann", "6f7e-bob", "6f7e-cy"


def nested_1(*answers: tuple[str, str, Any], question: str = "which") -> dict[str, Any]:
    """A record as version 1 answers it: each person's values together."""
    responses = [
        {"user_id": user, "status": status, "values": {question: {"value": value}}} for user, status, value in answers
    ]
    suggestions = [{"question_name": question, "value": "response_2", "agent": "gpt", "score": 0.9}]
    return {"fields": FIELDS, "metadata": {}, "external_id": None, "responses": responses, "suggestions": suggestions}


def nested_2(*answers: tuple[str, str, Any], question: str = "which") -> dict[str, Any]:
    """A record as `to_json` of version 2 writes it, which keeps no status."""
    responses = {
        question: [{"user_id": user, "value": value} for user, status, value in answers if status == "submitted"]
    }
    return {
        "id": "1",
        "fields": FIELDS,
        "metadata": {},
        "suggestions": {question: {"value": "response_2", "score": None, "agent": None}},
        "responses": responses,
        "vectors": {},
        "_server_id": "s",
    }


def flat_1(*answers: tuple[str, str, Any], question: str = "which") -> dict[str, Any]:
    """A row that version 1 pushed to the hub."""
    given = [{"user_id": user, "value": value, "status": status} for user, status, value in answers]
    return {
        **FIELDS,
        question: given,
        f"{question}-suggestion": "response_2",
        f"{question}-suggestion-metadata": None,
        "external_id": None,
        "metadata": "{}",
    }


def flat_2(*answers: tuple[str, str, Any], question: str = "which") -> dict[str, Any]:
    """A row that version 2 pushed to the hub."""
    columns = {f"{question}.responses": 2, f"{question}.responses.users": 0, f"{question}.responses.status": 1}
    given = {name: [answer[place] for answer in answers] for name, place in columns.items()}
    return {
        "id": "1",
        "status": "completed",
        "_server_id": "s",
        **FIELDS,
        **given,
        f"{question}.suggestion": "response_2",
        f"{question}.suggestion.score": None,
        f"{question}.suggestion.agent": None,
    }


ANSWERS = [(ANN, "submitted", "response_1"), (BOB, "submitted", "response-2"), (CY, "submitted", "response_1")]
RANKS = [
    ["response_1", "response_2"],
    [{"value": "response_1", "rank": 1}, {"value": "response_2", "rank": 2}],
    {"rank": [2, 1], "value": ["response_2", "response_1"]},
    {"rank": [1, 2], "text": ["response_1", "response_2"]},
]


@pytest.mark.parametrize("shape", [nested_1, nested_2, flat_1, flat_2])
def test_submitted_answers_of_argilla_are_votes_in_every_export(shape: Any) -> None:
    row = shape(*ANSWERS, ("x", "discarded", "response_2"), ("y", "draft", "response_2"))
    assert recognise(row) == "argilla"
    assert said(row) == [("So.", "No.", 2, 1, 0)]
    batch = convert(row)
    (ballot,) = batch.votes
    assert [(name, vote) for name, vote in ballot.votes] == [
        (f"annotator {ANN}", 1),
        (f"annotator {BOB}", 2),
        (f"annotator {CY}", 1),
    ]
    dropped = {"response that is discarded": 1, "response that is draft": 1}
    assert dict(batch.left_out) == ({} if shape is nested_2 else dropped)


@pytest.mark.parametrize("shape", [nested_1, nested_2, flat_1, flat_2])
def test_a_suggestion_is_no_vote(shape: Any) -> None:
    assert convert(shape()).left_out["no vote"] == 1


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("shape", [nested_1, nested_2, flat_1, flat_2])
def test_rankings_of_argilla_are_votes(shape: Any, ranks: Any) -> None:
    assert said(shape((ANN, "submitted", ranks))) == [("So.", "No.", 1, 0, 0)]


def test_ratings_of_argilla_are_compared_by_who_gave_them() -> None:
    row = nested_2((ANN, "submitted", 2), (BOB, "submitted", 4), question="rating_1")
    row["responses"]["rating_2"] = [
        {"user_id": BOB, "value": 3},
        {"user_id": ANN, "value": 2},
        {"user_id": CY, "value": 5},
    ]
    row["responses"]["rationale_1"] = [{"user_id": ANN, "value": "as it says so"}]
    assert said(row) == [("So.", "No.", 1, 0, 1)]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (nested_2((ANN, "submitted", "neither")), "has no answer that ranks, rates or names response_1, response_2"),
        (nested_2(*ANSWERS, ("z", "submitted", "neither")), "has an answer to which that names no response and no tie"),
        (nested_2((ANN, "submitted", ["response_1"])), "does not rank each of response_1, response_2"),
        ({**nested_2(*ANSWERS), "fields": {"prompt": "How?", "text": "So."}}, "has no two responses, called such as"),
        (
            {**nested_2(*ANSWERS), "fields": {**FIELDS, "input": "x"}},
            "has the fields prompt, input, any of which could",
        ),
        ({**nested_2(*ANSWERS), "fields": {**FIELDS, "response_3": "Hm."}}, "names the best of 3 responses"),
        ({**flat_2(*ANSWERS), "which.responses.users": [ANN]}, "has not as many values as users and statuses"),
    ],
)
def test_what_argilla_does_not_compare_is_named(row: dict[str, Any], reason: str) -> None:
    (misfit,) = convert(row).misfits
    assert reason in misfit.reason


def test_a_prompt_of_several_turns_stays_one() -> None:
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "How?"},
    ]
    row = {**nested_2(*ANSWERS), "fields": {**FIELDS, "prompt": turns}}
    assert json.loads(convert(row, "prompts").frame["prompt"][0]) == turns
