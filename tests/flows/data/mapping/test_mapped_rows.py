"""Rows whose columns are mapped: what each shape gives, and what is said of a row that the mapping does not fit."""

import json
from typing import Any
from unicodedata import normalize

import pytest

from data_contracts.conversation import write_conversation
from data_contracts.formats.convert import Batch, SourceRow, convert_rows
from data_contracts.records import Kind
from flows.config.columns import ColumnFormat
from flows.data.mapping.labels import opinions_of
from flows.data.mapping.rows import mapped

ROW = {"q": " How? ", "a": "So.", "b": "No."}
PAIR = {"prompt": "q", "responses": ["a", "b"]}
AB = {"A": "first", "B": "second", "tie": "tie", "both bad": "skip"}
LIKERT = {"A much better": {"first": 3}, "A better": {"first": 1}, "same": "tie", "B better": {"second": 1}}
HI = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
HOW = {"role": "user", "content": "How?"}
BE_KIND = {"role": "system", "content": "Be kind."}
Cells = dict[str, Any]


def convert(form: Cells, *rows: Cells, kind: Kind = "preferences") -> Batch:
    numbered = [SourceRow("vendor.csv", number, row) for number, row in enumerate(rows, start=1)]
    return convert_rows(kind, mapped(ColumnFormat.model_validate(form), kind), numbered, ties=True)


def said(form: Cells, row: Cells) -> list[tuple[str, str, int, int, int, float]]:
    """Chosen, rejected, their votes, ties, and grade of each pair."""
    batch = convert(form, ROW | row)
    assert not batch.misfits and set(batch.frame["prompt"]) <= {"How?"}
    columns = ["chosen", "rejected", "votes_chosen", "votes_rejected", "votes_tied", "grade"]
    return [tuple(cells) for cells in batch.frame[columns].itertuples(index=False)]


FIRST, SECOND = ("So.", "No.", 1, 0, 0, 0.0), ("No.", "So.", 1, 0, 0, 0.0)
LABEL = {"columns": {**PAIR, "label": "l"}, "labels": AB}
SCALE = {"columns": {**PAIR, "label": "l"}, "scale": {"first": 1, "second": 7}}
NAMES = {"columns": {**PAIR, "label": "l", "names": ["m", "n"]}, "labels": {"draw": "tie"}}
COUNTS = {"columns": {**PAIR, "votes": {"first": "x", "second": "y", "tie": "z"}}}
SCORES = {"columns": {**PAIR, "scores": ["x", "y"]}}
GIVEN: list[tuple[Cells, Cells, list[Any]]] = [
    (LABEL, {"l": "A"}, [FIRST]),
    (LABEL, {"l": " b "}, [SECOND]),
    (LABEL, {"l": ["A", "B", "A", None]}, [("So.", "No.", 2, 1, 0, 0.0)]),
    (LABEL, {"l": '{"ann": "B", "bob": "b", "cy": "tie"}'}, [("No.", "So.", 2, 0, 1, 0.0)]),
    ({"columns": {**PAIR, "label": "l"}, "labels": {1: "first", 2: "second"}}, {"l": 2.0}, [SECOND]),
    ({"columns": {**PAIR, "label": "l"}, "labels": {1: "first", 2: "second"}}, {"l": "2.0"}, [SECOND]),
    ({"columns": {**PAIR, "label": "l"}, "labels": {True: "first", False: "second"}}, {"l": False}, [SECOND]),
    ({"columns": {**PAIR, "label": "l"}, "labels": {True: "first", False: "second"}}, {"l": "TRUE"}, [FIRST]),
    ({"columns": {**PAIR, "label": "l", "grade": "g"}, "labels": AB}, {"l": "B", "g": "2.5"}, [(*SECOND[:5], 2.5)]),
    ({"columns": {**PAIR, "label": "l"}, "labels": LIKERT}, {"l": "A much better"}, [(*FIRST[:5], 3.0)]),
    ({"columns": {**PAIR, "label": "l"}, "labels": LIKERT}, {"l": "B better"}, [(*SECOND[:5], 1.0)]),
    (
        {"columns": {**PAIR, "label": ["l", "k", "j"]}, "labels": LIKERT},
        {"l": "A much better", "k": "A better", "j": "B better"},
        [("So.", "No.", 2, 1, 0, 1.0)],
    ),  # (3 + 1 - 1) / 3
    (SCALE, {"l": "1"}, [(*FIRST[:5], 3.0)]),
    (SCALE, {"l": 6}, [(*SECOND[:5], 2.0)]),
    ({**SCALE, "scale": {"first": 100, "second": 0}}, {"l": "20"}, [(*SECOND[:5], 30.0)]),
    (NAMES, {"l": "gpt", "m": "claude", "n": "GPT"}, [SECOND]),
    (COUNTS, {"x": "3", "y": 1.0, "z": ""}, [("So.", "No.", 3, 1, 0, 0.0)]),
    (COUNTS, {"x": "false", "y": True, "z": None}, [SECOND]),
    (SCORES, {"x": "2", "y": "3.5"}, [(*SECOND[:5], 1.5)]),
    ({"columns": {**PAIR, "ranks": "r"}}, {"r": [1, 2]}, [FIRST]),
    (
        {"columns": {"prompt": "q", "responses": "c", "scores": "s"}},
        {"c": '["So.", "No.", "Hm."]', "s": [5, 1, None]},
        [(*FIRST[:5], 4.0)],
    ),
    ({"columns": {"prompt": "q", "chosen": "b", "rejected": "a"}}, {}, [SECOND]),
    (
        {"columns": {"prompt": "q", "responses": ["c.0", "c.1"], "label": "d.l"}, "labels": AB},
        {"c": ["So.", "No."], "d": {"l": "B"}},
        [SECOND],
    ),
]


def test_labels_are_votes_for_the_response_that_they_name() -> None:
    mapping = ColumnFormat.model_validate(LABEL)
    opinions = [opinion for label in AB for opinion in opinions_of(mapping, {"l": label})]
    assert [opinion.vote for opinion in opinions] == [1, 2, 0, None]


def test_names_and_labels_are_the_same_however_their_signs_are_written() -> None:
    taken_apart = normalize("NFD", "Präferenz Ö")
    form = {"columns": {**PAIR, "label": taken_apart}, "labels": {"Ä": "first", normalize("NFD", "Ü"): "second"}}
    rows = [ROW | {"Präferenz Ö": label} for label in ("ü", normalize("NFD", "Ä"))]
    assert convert(form, *rows).frame["chosen"].tolist() == ["No.", "So."]


@pytest.mark.parametrize(("form", "row", "expected"), GIVEN)
def test_a_shape_gives_pairs(form: Cells, row: Cells, expected: list[Any]) -> None:
    assert said(form, row) == expected


@pytest.mark.parametrize(
    ("form", "row"),
    [(LABEL, {"l": "tie"}), (SCALE, {"l": "4"}), (NAMES, {"l": "Draw"}), (SCORES, {"x": 2, "y": "2.0"})],
)
def test_a_tie_has_one_vote_for_both(form: Cells, row: Cells) -> None:
    ((*_, for_chosen, for_rejected, tied, grade),) = said(form, row)
    assert (for_chosen, for_rejected, tied, grade) == (0, 0, 1, 0.0)


@pytest.mark.parametrize(
    ("form", "row", "reason"),
    [
        (LABEL, {"l": "Both bad"}, "a label that means skip"),
        (LABEL, {"l": None}, "no vote"),
        (SCALE, {"l": " "}, "no vote"),
        (COUNTS, {"x": 0, "y": "0", "z": ""}, "no vote"),
        (SCORES, {"x": 1, "y": None}, "no vote"),
        (LABEL, {"l": "tie", "b": "So. "}, "a tie of the votes"),
    ],
)
def test_what_prefers_nothing_is_left_out(form: Cells, row: Cells, reason: str) -> None:
    batch = convert(form, ROW | row)
    assert batch.frame.empty and batch.left_out[reason] == 1 and not batch.misfits


@pytest.mark.parametrize(
    ("form", "row", "field", "reason"),
    [
        (LABEL, {"l": "C"}, "l", "holds 'C', which is none of the labels 'a', 'b', 'tie', 'both bad'"),
        (LABEL, {"l": "zebra umbrella " * 9}, "l", "holds a text of 134 characters, which is none of the labels"),
        (NAMES, {"l": "llama", "m": "x", "n": "y"}, "l", "'draw', what stands in m, what stands in n"),
        (NAMES, {"l": "x", "m": "x", "n": "x"}, "l", "names a response, and both are called the same"),
        (SCALE, {"l": "8"}, "l", "holds 8, beyond the scale from 1 to 7"),
        (SCALE, {"l": "good"}, "l", "is not a number"),
        (COUNTS, {"x": -1, "y": 2}, "x", "is no count of votes"),
        (LABEL, {"l": "A", "b": None}, "b", "is missing"),
        (LABEL, {"l": "A", "q": None}, "q", "is missing"),
        ({"columns": {"prompt": "q", "responses": "a", "label": "l"}, "labels": AB}, {"l": "A"}, "a", "is no list"),
        (LABEL, {"l": '{"ann": "A", "ann": "B"}'}, "l", "has 'ann' twice in one object"),
        (
            LABEL,
            {"l": "A", "q": '[{"role": "user", "role": "user", "content": "How?"}]'},
            "q",
            "has 'role' twice in one object",
        ),
        ({"columns": {**PAIR, "system": "s", "label": "l"}, "labels": AB}, {"l": "A", "s": 5}, "s", "is not text"),
        (
            {"columns": {"responses": ["a", "b"], "label": "l"}, "labels": AB},
            {"l": "A"},
            "a",
            "is not a list of objects",
        ),
    ],
)
def test_what_is_not_explained_is_a_misfit_by_column(form: Cells, row: Cells, field: str, reason: str) -> None:
    (misfit,) = convert(form, ROW | row).misfits
    assert (misfit.row, misfit.field) == (1, field) and reason in misfit.reason
    assert "zebra" not in misfit.reason


def test_columns_of_people_are_a_ballot() -> None:
    form = {"columns": {**PAIR, "label": ["ann", "bob", "cy"]}, "labels": AB}
    batch = convert(form, ROW | {"ann": "A", "bob": "tie", "cy": ""})
    assert [cast.votes for cast in batch.votes] == [(("ann", 1), ("bob", 0))]
    assert batch.frame["votes_chosen"].tolist() == [1] and batch.annotators == [None]


def test_an_annotator_is_named_and_an_address_is_not_kept() -> None:
    form = {"columns": {**PAIR, "label": "l", "annotator": "w"}, "labels": AB}
    rows = [ROW | {"l": "A", "w": who} for who in (7.0, " ann ", "ann@example.org", "")]
    seven, ann, address, nobody = convert(form, *rows).annotators
    assert (seven, ann, nobody) == ("7", "ann", None)
    assert address is not None and address.startswith("annotator ") and "@" not in address


TURNS = write_conversation([*HI, HOW])
PROMPTS: list[tuple[Cells, Cells, str]] = [
    ({"prompt": "q", "input": "i"}, {"q": "Translate", "i": "bonjour"}, "Translate\n\nbonjour"),
    ({"prompt": "q", "input": "i"}, {"q": "Translate", "i": " "}, "Translate"),
    ({"prompt": "q", "system": "s"}, {"q": "How?", "s": "Be kind."}, write_conversation([BE_KIND, HOW])),
    ({"prompt": "q", "system": "s"}, {"q": "How?", "s": None}, "How?"),
    ({"prompt": "q", "system": "s"}, {"q": [BE_KIND, HOW], "s": " Be kind."}, write_conversation([BE_KIND, HOW])),
    ({"prompt": "q"}, {"q": json.dumps([*HI, HOW])}, TURNS),
    ({"prompt": "q"}, {"q": "Human: Hi\n\nAssistant: Hello\n\nHuman: How?"}, TURNS),
    ({"prompt": "q", "history": "h"}, {"q": "How?", "h": json.dumps(HI)}, TURNS),
    ({"prompt": "q", "history": "h"}, {"q": "How?", "h": "[]"}, "How?"),
    ({"prompt": ["u", "v", "q"]}, {"u": "Hi", "v": "Hello", "q": "How?"}, TURNS),
    ({"prompt": ["q", "v", "w"]}, {"q": "How?", "v": "", "w": None}, "How?"),
]


@pytest.mark.parametrize(("columns", "row", "expected"), PROMPTS)
def test_a_prompt_is_text_or_turns(columns: Cells, row: Cells, expected: str) -> None:
    answered = {"columns": {**columns, "response": "r"}}
    assert convert(answered, row | {"r": "So."}, kind="prompts").frame["prompt"].tolist() == [expected]
    demonstrations = convert(answered, row | {"r": "So."}, kind="demonstrations").frame
    assert demonstrations[["prompt", "response"]].to_numpy().tolist() == [[expected, "So."]]


def test_conversations_hold_their_prompt() -> None:
    sides = {"a": [HOW, {"role": "assistant", "content": "So."}], "b": [HOW, {"role": "assistant", "content": "No."}]}
    form = {"columns": {"responses": ["a", "b"], "label": "l", "system": "s"}, "labels": AB}
    (record,) = convert(form, {**sides, "l": "B", "s": "Be kind."}).frame.to_dict("records")
    assert (record["prompt"], record["chosen"]) == (write_conversation([BE_KIND, HOW]), "No.")
    told = {"a": "\n\nHuman: How?\n\nAssistant: So.", "b": "\n\nHuman: How?\n\nAssistant: No."}
    (record,) = convert(form, {**told, "l": "A", "s": ""}).frame.to_dict("records")
    assert (record["prompt"], record["chosen"]) == ("How?", "So.")
    talk = {"columns": {"messages": "m", "system": "s"}}
    (record,) = convert(talk, {"m": sides["a"], "s": "Be kind."}, kind="demonstrations").frame.to_dict("records")
    assert (record["prompt"], record["response"]) == (write_conversation([BE_KIND, HOW]), "So.")
