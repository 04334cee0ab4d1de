"""Every rule of every contract, broken by a planted row; and what the report says and does not say."""

import math
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.leakage import find_leaks
from data_contracts.preferences import aggregate_votes
from data_contracts.records import COLUMNS, Kind
from data_contracts.validation import CONTRACTS, ContractViolation, find_violations, validate

SOUND: dict[str, Any] = {
    "prompt": "how do i boil water",
    "response": "use a pot",
    "chosen": "use a pot",
    "rejected": "no idea",
    "group": "boil",
    "source": "kitchen.jsonl",
    "votes_chosen": 2,
    "votes_rejected": 1,
}


def row(kind: Kind, **changes: Any) -> dict[str, Any]:
    return {**{name: SOUND[name] for name in COLUMNS[kind]}, **changes}


def table(kind: Kind, *changes: dict[str, Any]) -> pd.DataFrame:
    """Sound rows with prompts of their own, then one row for each set of changes."""
    sound = [row(kind, prompt=f"question {i}", group=f"group {i}") for i in range(3)]
    return pd.DataFrame([*sound, *(row(kind, **change) for change in changes)], dtype=object)


TEXT_FIELDS: list[tuple[Kind, str]] = [
    (kind, field) for kind in COLUMNS for field in COLUMNS[kind] if not field.startswith("votes")
]
PLANTED: list[tuple[Kind, str, list[dict[str, Any]]]] = [
    *((kind, f"{field}_is_text", [{field: None}]) for kind, field in TEXT_FIELDS),
    *((kind, f"{field}_not_empty", [{field: " \n\t"}]) for kind, field in TEXT_FIELDS),
    *((kind, "groups_disjoint", [{"split": "train"}, {"split": "test", "prompt": "another"}]) for kind in COLUMNS),
    ("preferences", "votes_chosen_is_count", [{"votes_chosen": 1.5}]),
    ("preferences", "votes_rejected_is_count", [{"votes_rejected": -1}]),
    ("preferences", "responses_differ", [{"rejected": " use a pot\n"}]),
    ("preferences", "pair_not_repeated", [{}, {"group": "elsewhere"}]),
    ("preferences", "pair_not_contradicted", [{}, {"chosen": "no idea", "rejected": "use a pot"}]),
    ("preferences", "votes_cast", [{"votes_chosen": 0, "votes_rejected": 0}]),
    ("preferences", "votes_favour_chosen", [{"votes_chosen": 1, "votes_rejected": 2}]),
]


@pytest.mark.parametrize(("kind", "rule", "changes"), PLANTED, ids=[f"{kind} {rule}" for kind, rule, _ in PLANTED])
def test_a_planted_row_breaks_its_rule_and_no_other(kind: Kind, rule: str, changes: list[dict[str, Any]]) -> None:
    found = find_violations(kind, table(kind, *changes))
    assert {item.rule for item in found} == {rule}
    assert {item.row for item in found} <= set(range(4, 4 + len(changes)))
    assert all(item.reason and item.mend and item.field in COLUMNS[kind] for item in found)


@pytest.mark.parametrize("kind", list(COLUMNS))
def test_every_rule_has_been_broken_by_a_planted_row(kind: Kind) -> None:
    assert {rule.name for rule in CONTRACTS[kind][1]} == {rule for planted, rule, _ in PLANTED if planted == kind}


@pytest.mark.parametrize("kind", list(COLUMNS))
def test_sound_rows_pass_unchanged(kind: Kind) -> None:
    frame = table(kind, {})
    assert validate(kind, frame) is frame


@pytest.mark.parametrize("cell", [5, 1.5, math.nan, ["use a pot"], b"use a pot", "lone \ud800 surrogate"])
def test_what_is_no_text_is_refused(cell: object) -> None:
    assert {item.rule for item in find_violations("prompts", table("prompts", {"prompt": cell}))} == {"prompt_is_text"}


@pytest.mark.parametrize("cell", [True, math.nan, math.inf, "2", None])
def test_what_is_no_count_is_refused(cell: object) -> None:
    found = find_violations("preferences", table("preferences", {"votes_chosen": cell}))
    assert {item.rule for item in found} == {"votes_chosen_is_count"}


def test_all_violations_are_reported_at_once_by_the_row_of_the_source() -> None:
    frame = table("demonstrations", {"prompt": ""}, {"response": None, "group": ""})
    frame.index = pd.Index([10, 20, 30, 40, 50], name="row")
    with pytest.raises(ContractViolation) as refused:
        validate("demonstrations", frame)
    found = {(item.source, item.row, item.field, item.rule) for item in refused.value.violations}
    assert found == {
        ("kitchen.jsonl", 40, "prompt", "prompt_not_empty"),
        ("kitchen.jsonl", 50, "response", "response_is_text"),
        ("kitchen.jsonl", 50, "group", "group_not_empty"),
    }
    message = str(refused.value)
    assert message.startswith("demonstrations break their contract: 3 violations in 2 rows")
    assert "kitchen.jsonl row 50, field response" in message
    assert "Mend: fill in prompt, or remove the row." in message
    assert "boil water" not in message and "use a pot" not in message


def test_the_message_names_a_few_rows_of_a_rule_and_counts_the_rest() -> None:
    with pytest.raises(ContractViolation, match="and 15 more") as refused:
        validate("prompts", table("prompts", *({"prompt": ""} for _ in range(25))))
    assert len(refused.value.violations) == 25


def test_missing_and_unknown_columns_and_absent_rows_are_named() -> None:
    frame = table("preferences").drop(columns="votes_chosen").assign(stars=5)
    found = find_violations("preferences", frame, source="pairs.jsonl")
    assert [(item.rule, item.field, item.row) for item in found] == [
        ("column_present", "votes_chosen", None),
        ("column_known", "stars", None),
    ]
    empty = find_violations("prompts", table("prompts").head(0), source="none.jsonl")
    assert [(item.rule, item.source) for item in empty] == [("has_rows", "none.jsonl")]


def test_a_rule_can_be_waived_by_name_only() -> None:
    frame = table("preferences", {}, {"votes_chosen": 5})
    assert not find_violations("preferences", frame, waive=["pair_not_repeated"])
    with pytest.raises(ValueError, match="no rule of preferences is called"):
        find_violations("preferences", frame, waive=["typo"])


LABELS = st.lists(
    st.tuples(st.sampled_from(["p", "q"]), st.permutations(["a", "b", "c"]), st.integers(1, 4), st.integers(0, 1)),
    min_size=1,
    max_size=12,
)


@given(LABELS, st.randoms())
def test_merging_labels_keeps_all_votes_whatever_the_order(labels: list[Any], chance: Any) -> None:
    rows = [
        row("preferences", prompt=prompt, chosen=texts[0], rejected=texts[1], votes_chosen=a, votes_rejected=b)
        for prompt, texts, a, b in labels
    ]
    merged = aggregate_votes(pd.DataFrame(rows))
    assert not find_violations("preferences", merged)
    assert (merged["votes_chosen"] >= merged["votes_rejected"]).all()
    total = sum(item["votes_chosen"] + item["votes_rejected"] for item in rows)
    assert merged["votes_chosen"].sum() + merged["votes_rejected"].sum() == total
    chance.shuffle(rows)
    again = aggregate_votes(pd.DataFrame(rows))
    assert set(map(tuple, again.to_numpy().tolist())) == set(map(tuple, merged.to_numpy().tolist()))


def test_the_majority_is_chosen() -> None:
    for_pot = row("preferences", votes_chosen=1, votes_rejected=0)
    against = row("preferences", chosen="no idea", rejected="use a pot", votes_chosen=3, votes_rejected=0)
    merged = aggregate_votes(pd.DataFrame([for_pot, against])).iloc[0]
    assert (merged["chosen"], merged["votes_chosen"], merged["votes_rejected"]) == ("no idea", 3, 1)


def test_a_row_that_trains_on_a_prompt_held_out_elsewhere_is_found() -> None:
    prompts = table("prompts").assign(split="test")
    pairs = table("preferences", {"prompt": "  Question\n1 "}).assign(split=["test", "test", "test", "judge"])
    found = find_leaks({"prompts": prompts, "preferences": pairs})
    assert {kind: [item.row for item in items] for kind, items in found.items()} == {"preferences": [4]}
    (leak,) = found["preferences"]
    assert leak.field == "prompt" and "uestion" not in leak.reason + leak.mend
    assert not find_leaks({"prompts": prompts, "preferences": pairs.head(3)})
