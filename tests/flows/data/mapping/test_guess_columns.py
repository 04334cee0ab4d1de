"""Files as ten vendors write them: what their columns are taken for, and that the guess reads all rows."""

from typing import Any

import pytest

from data_contracts.formats.convert import SourceRow, convert_rows
from data_contracts.formats.registry import FORMATS
from flows.data.mapping.guess import guess_columns
from flows.data.mapping.rows import mapped
from flows.data.mapping.unread import unread_labels

Rows = list[dict[str, Any]]


def table(header: str, *rows: str) -> Rows:
    """Rows of a CSV file, whose cells are all text."""
    names = header.split(",")
    return [dict(zip(names, row.split(","), strict=True)) for row in rows]


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


TALK = [turn("user", "Hi"), turn("assistant", "Hello"), turn("user", "How?")]
SIDES = {
    f"conversation_{side}": [turn("user", "How?"), turn("assistant", said)]
    for side, said in (("a", "So."), ("b", "No."))
}
AB = {"A": "first", "B": "second"}
VENDORS: dict[str, tuple[Rows, dict[str, Any]]] = {
    "survey": (
        table(
            "Task ID,Prompt,Response A,Response B,Which response is better?,Worker ID,Explanation",
            "1,How?,So.,No.,Response A is much better,w1,as it is a bit better",
            "2,Why?,So.,No.,Response B is slightly better,w2,B is polite",
            "3,When?,So.,No.,About the same,w1,",
        ),
        {
            "columns": {
                "prompt": "Prompt",
                "responses": ["Response A", "Response B"],
                "label": "Which response is better?",
                "annotator": "Worker ID",
            },
            "labels": {
                "Response A is much better": {"first": 3},
                "Response B is slightly better": {"second": 1},
                "About the same": "tie",
                "response b is much better": {"second": 3},
                "response a is slightly better": {"first": 1},
            },
        },
    ),
    "nested JSON": (
        [
            {
                "id": 1,
                "params": {"prompt": "How?", "responses": ["So.", "No."]},
                "result": {"ranking": [2, 1]},
                "worker": "x",
            }
        ],
        {
            "columns": {
                "prompt": "params.prompt",
                "responses": "params.responses",
                "ranks": "result.ranking",
                "annotator": "worker",
            }
        },
    ),
    "Toloka": (
        table(
            "INPUT:prompt,INPUT:response_a,INPUT:response_b,OUTPUT:result,GOLDEN:result,HINT:text,ASSIGNMENT:worker_id",
            "How?,So.,No.,a,,,w7",
            "How?,So.,No.,b,,,w8",
        ),
        {
            "columns": {
                "prompt": "INPUT:prompt",
                "responses": ["INPUT:response_a", "INPUT:response_b"],
                "label": "OUTPUT:result",
                "annotator": "ASSIGNMENT:worker_id",
            },
            "labels": {"a": "first", "b": "second"},
        },
    ),
    "MTurk, radio buttons": (
        table(
            "HITId,WorkerId,Input.prompt,Input.answer1,Input.answer2,Answer.best.1,Answer.best.2,Answer.best.tie",
            "h,A1,How?,So.,No.,true,false,false",
            "h,A2,How?,So.,No.,false,false,true",
        ),
        {
            "columns": {
                "prompt": "Input.prompt",
                "responses": ["Input.answer1", "Input.answer2"],
                "votes": {"first": "Answer.best.1", "second": "Answer.best.2", "tie": "Answer.best.tie"},
                "annotator": "WorkerId",
            }
        },
    ),
    "Label Studio's CSV": (
        table(
            "annotation_id,annotator,answer1,answer2,comparison,created_at,id,lead_time,prompt",
            "1,1,So.,No.,left,2024,1,2.1,How?",
            "2,2,So.,No.,right,2024,1,2.3,How?",
        ),
        {
            "columns": {
                "prompt": "prompt",
                "responses": ["answer1", "answer2"],
                "label": "comparison",
                "annotator": "annotator",
            },
            "labels": {"left": "first", "right": "second"},
        },
    ),
    "a sheet with a column for each person": (
        table("Question,Option A,Option B,Anna,Ben,Zoë", "How?,So.,No.,A,B,tie", "Why?,So.,No.,a,,both bad"),
        {
            "columns": {"prompt": "Question", "responses": ["Option A", "Option B"], "label": ["Anna", "Ben", "Zoë"]},
            "labels": {"a": "first", "B": "second", "tie": "tie", "both bad": "skip"},
        },
    ),
    "a slider": (
        table("PROLIFIC_PID,question,answer_left,answer_right,slider", "p1,How?,So.,No.,12", "p2,How?,So.,No.,88"),
        {
            "columns": {
                "prompt": "question",
                "responses": ["answer_left", "answer_right"],
                "label": "slider",
                "annotator": "PROLIFIC_PID",
            },
            "scale": {"first": 0, "second": 100},
        },
    ),
    "an SQL dump with the models' names": (
        table(
            "id,user_prompt,completion_a,completion_b,model_a,model_b,winner,labeler_email",
            "1,How?,So.,No.,gpt-4,llama,gpt-4,a@b.c",
            "2,Why?,So.,No.,llama,gpt-4,tie,d@b.c",
        ),
        {
            "columns": {
                "prompt": "user_prompt",
                "responses": ["completion_a", "completion_b"],
                "label": "winner",
                "names": ["model_a", "model_b"],
                "annotator": "labeler_email",
            },
            "labels": {"tie": "tie"},
        },
    ),
    "turns with a system prompt": (
        [
            {"system_prompt": "Be kind.", "messages": TALK, "response_a": "So.", "response_b": "No.", "label": "A"},
            {"system_prompt": "", "messages": TALK[2:], "response_a": "So.", "response_b": "No.", "label": "B"},
        ],
        {
            "columns": {
                "prompt": "messages",
                "system": "system_prompt",
                "responses": ["response_a", "response_b"],
                "label": "label",
            },
            "labels": AB,
        },
    ),
    "a column for each turn": (
        table(
            "user_1,assistant_1,user_2,answer_a,answer_b,preferred",
            "Hi,Hello,How?,So.,No.,answer_b",
            "Hi,,,So.,No.,answer_a",
        ),
        {
            "columns": {
                "prompt": ["user_1", "assistant_1", "user_2"],
                "responses": ["answer_a", "answer_b"],
                "label": "preferred",
            },
            "labels": {"answer_b": "second", "answer_a": "first"},
        },
    ),
    "an arena": (
        [{"model_a": "x", "model_b": "y", "winner": "model_b", "judge": "u1", **SIDES}],
        {
            "columns": {"responses": ["conversation_a", "conversation_b"], "label": "winner", "annotator": "judge"},
            "labels": {"model_b": "second", "model_a": "first"},
        },
    ),
    "a score for each response": (
        table("prompt,response_a,overall_a,response_b,overall_b", "How?,So.,4,No.,2", "Why?,So.,3,No.,3.5"),
        {
            "columns": {
                "prompt": "prompt",
                "responses": ["response_a", "response_b"],
                "scores": ["overall_a", "overall_b"],
            }
        },
    ),
    "ranks of three": (
        table("prompt,completion_1,completion_2,completion_3,rank_1,rank_2,rank_3", "How?,So.,No.,Hm.,1,3,2"),
        {
            "columns": {
                "prompt": "prompt",
                "responses": ["completion_1", "completion_2", "completion_3"],
                "ranks": ["rank_1", "rank_2", "rank_3"],
            }
        },
    ),
    "responses called by their models": (
        table("query,gpt4_answer,claude_answer,verdict", "How?,So.,No.,gpt4", "Why?,So.,No.,claude"),
        {
            "columns": {"prompt": "query", "responses": ["gpt4_answer", "claude_answer"], "label": "verdict"},
            "labels": {"gpt4": "first", "claude": "second"},
        },
    ),
    "the better text itself": (
        table("prompt,response_a,response_b,preferred_response", "How?,So.,No.,So.", "Why?,So.,No.,No."),
        {
            "columns": {
                "prompt": "prompt",
                "responses": ["response_a", "response_b"],
                "label": "preferred_response",
                "names": ["response_a", "response_b"],
            }
        },
    ),
    "signs": (
        table(
            "prompt,answer_a,answer_b,judgment",
            "How?,So.,No.,[[A>>B]]",
            "Why?,So.,No.,[[B>A]]",
            "When?,So.,No.,[[A=B]]",
        ),
        {
            "columns": {"prompt": "prompt", "responses": ["answer_a", "answer_b"], "label": "judgment"},
            "labels": {
                "[[A>>B]]": {"first": 2},
                "[[B>A]]": {"second": 1},
                "[[A=B]]": "tie",
                "[[b>>a]]": {"second": 2},
                "[[a>b]]": {"first": 1},
            },
        },
    ),
    "yes and no": (
        table("prompt,response_a,response_b,B better?", "How?,So.,No.,Yes", "Why?,So.,No.,No"),
        {
            "columns": {"prompt": "prompt", "responses": ["response_a", "response_b"], "label": "B better?"},
            "labels": {"Yes": "second", "No": "first"},
        },
    ),
    "answers as messages of their own": (
        [
            {
                "conversation_id": "c1",
                "messages": [turn("system", "Be brief."), *TALK],
                "chosen": [turn("assistant", "So.")],
                "rejected": [turn("assistant", "No.")],
                "worker": "w1",
            }
        ],
        {"columns": {"prompt": "messages", "chosen": "chosen", "rejected": "rejected", "annotator": "worker"}},
    ),
    "renamed sides": (
        table("question,better_answer,worse_answer", "How?,So.,No."),
        {"columns": {"prompt": "question", "chosen": "better_answer", "rejected": "worse_answer"}},
    ),
    "a list of objects, one for each completion": (
        [
            {
                "instruction": "How?",
                "completions": [
                    {
                        "model": "x",
                        "custom_system_prompt": "Be kind.",
                        "response": said,
                        "overall_score": score,
                        "fine_grained_score": score,
                        "critique": "It says what was asked, in few words.",
                    }
                    for said, score in (("So.", 7.5), ("No.", None), ("Hm.", 3.0))
                ],
            }
        ],
        {
            "columns": {
                "prompt": "instruction",
                "responses": "completions.response",
                "scores": "completions.overall_score",
            }
        },
    ),
    "answers with their ranks": (
        [
            {
                "prompt": "How?",
                "answers": [
                    {"position": at, "answer": said, "author": "ann", "rank": rank}
                    for at, (said, rank) in enumerate((("So.", 2), ("No.", 1)), start=1)
                ],
            }
        ],
        {"columns": {"prompt": "prompt", "responses": "answers.answer", "ranks": "answers.rank"}},
    ),
    "answers of which one is ticked": (
        [{"prompt": "How?", "answers": [{"text": "So.", "selected": True}, {"text": "No.", "selected": False}]}],
        {"columns": {"prompt": "prompt", "responses": "answers.text", "scores": "answers.selected"}},
    ),
    "answers as messages with a score": (
        [
            {
                "prompt": "How?",
                "completions": [{**turn("assistant", "So."), "score": 2}, {**turn("assistant", "No."), "score": 1}],
            }
        ],
        {"columns": {"prompt": "prompt", "responses": "completions.content", "scores": "completions.score"}},
    ),
    "lists of messages, and of scores": (
        [{"prompt": "How?", "completions": [[turn("assistant", "So.")], [turn("assistant", "No.")]], "scores": [2, 1]}],
        {"columns": {"prompt": "prompt", "responses": "completions", "scores": "scores"}},
    ),
    "a choice between two objects": (
        [
            {
                "post": "How?",
                "summaries": [{"text": "So.", "policy": "x"}, {"text": "No.", "policy": "y"}],
                "choice": choice,
                "worker": "w1",
            }
            for choice in "AB"
        ],
        {
            "columns": {"prompt": "post", "responses": "summaries.text", "label": "choice", "annotator": "worker"},
            "labels": AB,
        },
    ),
    "a list of ranks": (
        [{"prompt": "How?", "responses": ["So.", "No.", "Hm."], "rank": [3, 1, 2]}],
        {"columns": {"prompt": "prompt", "responses": "responses", "ranks": "rank"}},
    ),
    "a list of labels, 1 for the better": (
        [{"prompt": "How?", "responses": ["So.", "No."], "label": label} for label in ([1, 0], [0, 1])],
        {"columns": {"prompt": "prompt", "responses": "responses", "scores": "label"}},
    ),
    "two people's labels in a list": (
        [{"prompt": "How?", "responses": ["So.", "No."], "label": label} for label in ([1, 1], [0, 1])],
        {
            "columns": {"prompt": "prompt", "responses": "responses", "label": "label"},
            "labels": {"0": "first", "1": "second"},
        },
    ),
    "demonstrations": (
        table("instruction,input,output,category", "Translate,bonjour,hello,x"),
        {"columns": {"prompt": "instruction", "input": "input", "response": "output"}},
    ),
    "prompts": (table("id,user_query", "1,How?"), {"columns": {"prompt": "user_query"}}),
}


@pytest.mark.parametrize(("rows", "expected"), VENDORS.values(), ids=VENDORS)
def test_columns_are_taken_for_what_they_are(rows: Rows, expected: dict[str, Any]) -> None:
    guess = guess_columns(rows)
    assert guess.format == expected
    kind = guess.mapping.columns.kinds[0]
    numbered = [SourceRow("vendor.csv", number, row) for number, row in enumerate(rows, start=1)]
    batch = convert_rows(kind, mapped(guess.mapping, kind), numbered, ties=True)
    assert not batch.misfits and not batch.frame.empty


def test_a_number_that_may_mean_either_is_to_be_checked() -> None:
    rows = table("prompt,response_a,response_b,label", "How?,So.,No.,0", "Why?,So.,No.,1")
    assert guess_columns(rows).doubts == ("0 and 1 may be the other way round",)
    named = table("prompt,response_0,response_1,label", "How?,So.,No.,0", "Why?,So.,No.,1")
    assert guess_columns(named).doubts == ()


def test_several_labels_of_one_pair_are_named() -> None:
    rows = table("prompt,response_a,response_b,safety,overall", "How?,So.,No.,B,A", "Why?,So.,No.,A,B")
    guess = guess_columns(rows)
    assert guess.format["columns"]["label"] == "overall" and guess.doubts == ("safety would be labels too",)


@pytest.mark.parametrize(
    ("header", "lacking"),
    [
        ("prompt,response_a,response_b,language", "no column that looks like a label of the responses"),
        ("id,category", "no column that looks like a prompt"),
        ("title,rating", "no column that looks like a prompt"),
    ],
)
def test_what_is_lacking_is_said(header: str, lacking: str) -> None:
    guess = guess_columns(table(header, ",".join("xyzw"[: header.count(",") + 1])))
    assert not guess.format and guess.lacking == lacking and guess.unread


@pytest.mark.parametrize(
    ("beside", "lacking"),
    [
        ({"label": ["chosen", "rejected"]}, "no number for each of them: label says it in words; write 1 and 0"),
        ({"best": 1, "responses": ["So.", "No.", "Hm."]}, "no column with a score or a rank for each of them"),
        ({"responses": [{"text": "So."}, {"text": "No."}]}, "no column that looks like a label of the responses"),
    ],
)
def test_what_lists_of_responses_lack_is_said(beside: dict[str, Any], lacking: str) -> None:
    guess = guess_columns([{"prompt": "How?", "responses": ["So.", "No."], **beside}])
    assert not guess.format and "responses seem to be responses, but there is" in guess.remark.replace(".text", "")
    assert guess.lacking.startswith(lacking)


def test_labels_that_a_format_does_not_read_are_found() -> None:
    rows = table(
        "prompt,chosen,rejected,winner,chosen_model,vote_count,comment",
        "How?,So.,No.,A,gpt,1,A is better",
        "Why?,So.,No.,B,llama,2,B is",
    )
    assert unread_labels(rows, FORMATS["trl"]["preferences"].convert) == {"winner": True}
    assert unread_labels(rows[:1], FORMATS["trl"]["preferences"].convert) == {"winner": False}
    votes = [{"prompt": "How?", "response_a": "So.", "response_b": "No.", "votes": ["a", "b"]}]
    assert unread_labels(votes, FORMATS["votes"]["preferences"].convert) == {}
