"""The contract of preferences, and how several labels of one pair become votes."""

import hashlib
import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from data_contracts.records import LARGEST, VOTES
from data_contracts.sameness import same_form
from data_contracts.schemas.rules import Rule, not_repeated, prompt_rules, same_texts, text_rules
from data_contracts.text_columns import are_ascii, texts_of

RowFields = dict[Hashable, Any]


TRIPLE = ("prompt", "chosen", "rejected")

TIED = "a tie of the votes"
"""Why a pair is left out of which nobody knows the better response."""

MEND_REPEATS = "remove the copy, or say `repeats: votes` where each row is one person's label"


def aggregate_votes(frame: pd.DataFrame) -> pd.DataFrame:
    """Merge rows that compare the same two responses to the same prompt into one row that counts their votes.

    Texts are the same in whatever Unicode form they are written; the smallest form is kept.

    No vote is lost: the votes of the result sum to those of the input, and the same rows in another order give the
    same rows. `chosen` is what the majority preferred; in a tie a hash of the texts decides. `grade` is the mean over
    the votes, those of rows that preferred the other response counted below 0, and 0 at least.

    Args:
        frame: preferences that meet the row rules and may hold the same pair several times and in both directions.

    Returns:
        One row per prompt and unordered pair; group, source and row are the smallest of the merged rows.
    """
    pairs: dict[Hashable, list[RowFields]] = defaultdict(list)
    for row in frame.to_dict("records"):
        pairs[same_form(row["prompt"]), *sorted(map(same_form, (row["chosen"], row["rejected"])))].append(row)
    return pd.DataFrame(list(map(_merge, pairs.values())), columns=frame.columns).astype(frame.dtypes)


def _merge(rows: list[RowFields]) -> RowFields:
    forms: dict[str, str] = {}
    for text in sorted(row[name] for row in rows for name in TRIPLE):
        forms.setdefault(same_form(text), text)
    first, second = sorted(map(same_form, (rows[0]["chosen"], rows[0]["rejected"])))
    is_firsts = [same_form(row["chosen"]) == first for row in rows]
    for_first = sum(
        row["votes_chosen"] if is_first else row["votes_rejected"]
        for row, is_first in zip(rows, is_firsts, strict=True)
    )
    for_second = sum(row["votes_chosen"] + row["votes_rejected"] for row in rows) - for_first
    tied = for_second == for_first
    second_wins = tie_goes_to_second(same_form(rows[0]["prompt"]), first, second) if tied else for_second > for_first
    cast = [sum(row[field] for field in VOTES) for row in rows]
    grades = [
        votes * (row["grade"] if is_first != second_wins else -row["grade"])
        for row, is_first, votes in zip(rows, is_firsts, cast, strict=True)
    ]
    return {
        **min(rows, key=lambda row: (row["source"], row["row"])),
        "prompt": forms[same_form(rows[0]["prompt"])],
        "chosen": forms[second if second_wins else first],
        "rejected": forms[first if second_wins else second],
        "group": min(row["group"] for row in rows),
        "votes_chosen": max(for_first, for_second),
        "votes_rejected": min(for_first, for_second),
        "votes_tied": sum(row["votes_tied"] for row in rows),
        "grade": max(math.fsum(grades) / sum(cast), 0.0),
    }


def tie_goes_to_second(prompt: str, first: str, second: str) -> bool:
    """Which response of a tied pair stands as chosen: a hash of the texts decides, and neither order nor length.

    Args:
        prompt: text.
        first: the response that sorts first.
        second: the other.
    """
    return hashlib.sha256(f"{prompt}\0{first}\0{second}".encode(errors="replace")).digest()[0] % 2 == 1


def _is_count(value: object) -> bool:
    """Whether a cell is a whole number of at least 0; whole floats count, as a gap elsewhere makes a column float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LARGEST and value % 1 == 0


def _is_grade(value: object) -> bool:
    """Whether a cell is a number of at least 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LARGEST


def _are_counts(counts: pd.Series) -> pd.Series:
    if pd.api.types.is_integer_dtype(counts):
        return counts.between(0, LARGEST)
    return counts.map(_is_count).astype(bool)


def _are_grades(grades: pd.Series) -> pd.Series:
    if pd.api.types.is_float_dtype(grades):
        return grades.between(0, LARGEST)
    return grades.map(_is_grade).astype(bool)


def _responses_differ(frame: pd.DataFrame) -> pd.Series:
    chosen, rejected = texts_of(frame["chosen"]), texts_of(frame["rejected"])
    if chosen is not None and rejected is not None:
        differ = np.array(pc.not_equal(chosen, rejected))
        for place in np.flatnonzero(~(are_ascii(chosen) & are_ascii(rejected))):
            differ[place] = same_form(chosen[place].as_py()) != same_form(rejected[place].as_py())
        return pd.Series(differ, index=frame.index)
    both = zip(frame["chosen"], frame["rejected"], strict=True)
    same = [isinstance(a, str) and isinstance(b, str) and same_form(a) == same_form(b) for a, b in both]
    return ~pd.Series(same, index=frame.index, dtype=bool)


def _is_not_contradicted(frame: pd.DataFrame) -> pd.Series:
    triples = list(same_texts(frame, TRIPLE).itertuples(index=False, name=None))
    stated = set(triples)
    verdicts = [chosen == rejected or (prompt, rejected, chosen) not in stated for prompt, chosen, rejected in triples]
    return pd.Series(verdicts, index=frame.index, dtype=bool)


def _counts_hold(frame: pd.DataFrame, fields: Sequence[str], holds: Callable[..., bool]) -> pd.Series:
    """Judge some counts; rows where one is no count are left to the rules about counts."""
    columns = [frame[field] for field in fields]
    if all(map(pd.api.types.is_integer_dtype, columns)):
        are_counts = np.logical_and.reduce(list(map(_are_counts, columns)))
        return pd.Series(~are_counts | holds(*columns), index=frame.index)
    counts = zip(*columns, strict=True)
    verdicts = [not all(map(_is_count, row)) or bool(holds(*row)) for row in counts]
    return pd.Series(verdicts, index=frame.index, dtype=bool)


def _vote_rule(field: str) -> Rule:
    return Rule(
        f"{field}_is_count",
        field,
        f"{field} is not a whole number of at least 0",
        "write the number of annotators; 1 and 0 where one person compared the two",
        lambda frame: _are_counts(frame[field]),
        (field,),
        fatal=True,
    )


RULES: tuple[Rule, ...] = (
    *prompt_rules(),
    *text_rules("chosen"),
    *text_rules("rejected"),
    *text_rules("group"),
    _vote_rule("votes_chosen"),
    _vote_rule("votes_rejected"),
    _vote_rule("votes_tied"),
    Rule(
        "grade_is_number",
        "grade",
        "grade is not a number of at least 0",
        "write by how much chosen is better, or 0; swap the two responses where rejected is",
        lambda frame: _are_grades(frame["grade"]),
        ("grade",),
        fatal=True,
    ),
    Rule(
        "responses_differ",
        "rejected",
        "chosen and rejected are the same text",
        "remove the row: it prefers nothing",
        _responses_differ,
        ("chosen", "rejected"),
    ),
    Rule(
        "votes_cast",
        "votes_chosen",
        "no annotator voted on this pair",
        "remove the row, or have it labelled",
        lambda frame: _counts_hold(frame, VOTES, lambda *counts: sum(counts) > 0),
        VOTES,
    ),
    Rule(
        "votes_favour_chosen",
        "votes_rejected",
        "more annotators voted for rejected than for chosen",
        "swap the two responses and their votes",
        lambda frame: _counts_hold(frame, VOTES[:2], lambda chosen, rejected: chosen >= rejected),
        VOTES[:2],
    ),
)

SET_RULES: tuple[Rule, ...] = (
    not_repeated(TRIPLE, MEND_REPEATS),
    Rule(
        "not_contradicted",
        "chosen",
        "another row prefers the other response of this pair",
        "decide for one of them, or say `repeats: votes` where each row is one person's label",
        _is_not_contradicted,
        TRIPLE,
    ),
)
