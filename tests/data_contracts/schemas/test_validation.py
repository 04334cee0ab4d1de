"""Every rule of every contract, broken by a planted row; and what the report says and does not say."""

import math
from typing import Any

import pandas as pd
import pandera.errors
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.records import COLUMNS, Kind
from data_contracts.schemas.preferences import aggregate_votes
from data_contracts.schemas.rules import LONGEST_TEXT
from data_contracts.schemas.validation import CONTRACTS, broken_rules
from tests.data_contracts.violations import find_violations

SOUND: dict[str, Any] = {
    "prompt": "how do i boil water",
    "response": "use a pot",
    "chosen": "use a pot",
    "rejected": "no idea",
    "group": "boil",
    "source": "kitchen.jsonl",
    "row": 1,
    "votes_chosen": 2,
    "votes_rejected": 1,
    "votes_tied": 0,
    "grade": 0.5,
}


def row(kind: Kind, **changes: Any) -> dict[str, Any]:
    return {**{name: SOUND[name] for name in COLUMNS[kind]}, **changes}


def table(kind: Kind, *changes: dict[str, Any]) -> pd.DataFrame:
    """Sound rows with prompts of their own, then one row for each set of changes."""
    rows = [*({"prompt": f"question {i}", "group": f"group {i}"} for i in range(3)), *changes]
    return pd.DataFrame([row(kind, **{"row": number, **cells}) for number, cells in enumerate(rows, 1)], dtype=object)


TEXT_FIELDS: list[tuple[Kind, str]] = [
    (kind, field) for kind in COLUMNS for field in COLUMNS[kind] if isinstance(SOUND[field], str) and field != "source"
]
SPEAKS_TWICE = '[{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]'
PLANTED: list[tuple[Kind, str, list[dict[str, Any]]]] = [
    *((kind, f"{field}_is_text", [{field: None}]) for kind, field in TEXT_FIELDS),
    *((kind, f"{field}_not_empty", [{field: " \n\t"}]) for kind, field in TEXT_FIELDS),
    *((kind, f"{field}_not_huge", [{field: "x" * (LONGEST_TEXT + 1)}]) for kind, field in TEXT_FIELDS),
    *((kind, "roles_alternate", [{"prompt": SPEAKS_TWICE}]) for kind in COLUMNS),
    *((kind, "not_repeated", [{}, {"group": "elsewhere"}]) for kind in COLUMNS),
    ("preferences", "votes_chosen_is_count", [{"votes_chosen": 1.5}]),
    ("preferences", "votes_rejected_is_count", [{"votes_rejected": -1}]),
    ("preferences", "responses_differ", [{"rejected": "use a pot"}]),
    ("preferences", "not_contradicted", [{}, {"chosen": "no idea", "rejected": "use a pot"}]),
    ("preferences", "votes_tied_is_count", [{"votes_tied": -1}]),
    ("preferences", "grade_is_number", [{"grade": -0.1}]),
    ("preferences", "grade_is_number", [{"grade": None}]),
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
    judged = {rule.name for rule in (*CONTRACTS[kind].row_rules, *CONTRACTS[kind].set_rules)}
    assert judged == {rule for planted, rule, _ in PLANTED if planted == kind}


@pytest.mark.parametrize("kind", list(COLUMNS))
def test_sound_rows_pass(kind: Kind) -> None:
    assert not find_violations(kind, table(kind, {}))
    assert not find_violations(kind, table(kind).head(0))


@pytest.mark.parametrize("cell", [5, 1.5, math.nan, ["use a pot"], b"use a pot", "lone \ud800 surrogate"])
def test_what_is_no_text_is_refused(cell: object) -> None:
    assert {item.rule for item in find_violations("prompts", table("prompts", {"prompt": cell}))} == {"prompt_is_text"}


@pytest.mark.parametrize("cell", [True, math.nan, math.inf, "2", None])
def test_what_is_no_count_is_refused(cell: object) -> None:
    found = find_violations("preferences", table("preferences", {"votes_chosen": cell}))
    assert {item.rule for item in found} == {"votes_chosen_is_count"}


def test_all_violations_are_found_at_once_by_the_row_of_the_source() -> None:
    frame = table("demonstrations", {"prompt": "", "row": 40}, {"response": None, "group": "", "row": 50})
    found = find_violations("demonstrations", frame)
    assert {(item.source, item.row, item.field, item.rule) for item in found} == {
        ("kitchen.jsonl", 40, "prompt", "prompt_not_empty"),
        ("kitchen.jsonl", 50, "response", "response_is_text"),
        ("kitchen.jsonl", 50, "group", "group_not_empty"),
    }
    assert "kitchen.jsonl row 50, field response" in {item.place for item in found}
    assert "use a pot" not in str(found) and "boil water" not in str(found)


def test_columns_of_another_kind_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(pandera.errors.SchemaErrors, match="votes_chosen"):
        broken_rules("preferences", table("preferences").drop(columns="votes_chosen"), CONTRACTS["prompts"].row_rules)


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
    assert not [item for item in find_violations("preferences", merged) if item.rule != "votes_cast"]
    assert (merged["votes_chosen"] >= merged["votes_rejected"]).all()
    total = sum(item["votes_chosen"] + item["votes_rejected"] for item in rows)
    assert merged["votes_chosen"].sum() + merged["votes_rejected"].sum() == total
    chance.shuffle(rows)
    again = aggregate_votes(pd.DataFrame(rows))
    assert set(map(tuple, again.to_numpy().tolist())) == set(map(tuple, merged.to_numpy().tolist()))


def test_merged_grades_are_their_mean_towards_what_is_chosen() -> None:
    better = row("preferences", votes_chosen=1, votes_rejected=0, grade=3.0)
    worse = row("preferences", chosen="no idea", rejected="use a pot", votes_chosen=1, votes_rejected=0, grade=1.0)
    merged = aggregate_votes(pd.DataFrame([better, better, worse])).iloc[0]
    assert (merged["chosen"], merged["grade"]) == ("use a pot", pytest.approx((3.0 + 3.0 - 1.0) / 3))
    against = aggregate_votes(pd.DataFrame([better | {"grade": 0.5}, better | {"grade": 0.0}, worse])).iloc[0]
    assert (against["chosen"], against["grade"]) == ("use a pot", 0.0)
    thrice = aggregate_votes(pd.DataFrame([better | {"votes_chosen": 3}, worse])).iloc[0]
    assert thrice["grade"] == pytest.approx((3 * 3.0 - 1.0) / 4)  # of a rater whose vote counts as three


def test_the_majority_is_chosen() -> None:
    for_pot = row("preferences", votes_chosen=1, votes_rejected=0)
    against = row("preferences", chosen="no idea", rejected="use a pot", votes_chosen=3, votes_rejected=0)
    merged = aggregate_votes(pd.DataFrame([for_pot, against])).iloc[0]
    assert (merged["chosen"], merged["votes_chosen"], merged["votes_rejected"]) == ("no idea", 3, 1)
