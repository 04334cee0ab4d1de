"""The contract of preferences, and how several labels of one pair become votes."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Hashable
from typing import Any

import pandas as pd

from data_contracts.records import COLUMNS
from data_contracts.rules import Rule, groups_disjoint, is_text, schema, stripped, text_rules

Row = dict[Hashable, Any]

TRIPLE = ("prompt", "chosen", "rejected")


def aggregate_votes(frame: pd.DataFrame) -> pd.DataFrame:
    """Merge rows that compare the same two responses to the same prompt into one row that counts their votes.

    No vote is lost: the votes of the result sum to those of the input, and the same rows in another order give the
    same rows. `chosen` is what the majority preferred; in a tie a hash of the texts decides, so that neither order nor
    length does. Rows that the contract would refuse for their text or votes stay as they are, for the contract to
    report.

    Args:
        frame: preferences that may hold the same pair several times and in both directions.

    Returns:
        One row per prompt and unordered pair; group and source are the smallest of the merged rows, the index label
        (the row number) is that of the first.

    Raises:
        ValueError: if a column of the contract is missing.
    """
    missing = [name for name in COLUMNS["preferences"] if name not in frame]
    if missing:
        raise ValueError(f"preferences lack the columns {missing}")
    pairs: dict[Hashable, list[int]] = defaultdict(list)
    rows: list[Row] = frame.to_dict("records")
    for position, row in enumerate(rows):
        pairs[_unordered(row) if _is_sound(row) else position].append(position)
    merged = [_merge([rows[position] for position in positions]) for positions in pairs.values()]
    labels = frame.index[[positions[0] for positions in pairs.values()]]
    return pd.DataFrame(merged, index=labels, columns=list(frame.columns), dtype=object)


def _unordered(row: Row) -> Hashable:
    return row["prompt"], *sorted((row["chosen"], row["rejected"]))


def _is_sound(row: Row) -> bool:
    texts = all(is_text(row[field]) for field in (*TRIPLE, "group", "source"))
    votes = _is_count(row["votes_chosen"]) and _is_count(row["votes_rejected"])
    return texts and votes and bool(row["votes_chosen"] >= row["votes_rejected"])


def _merge(rows: list[Row]) -> Row:
    if len(rows) == 1:
        return rows[0]
    prompt, first, second = str(rows[0]["prompt"]), *sorted((rows[0]["chosen"], rows[0]["rejected"]))
    for_first = sum(row["votes_chosen"] if row["chosen"] == first else row["votes_rejected"] for row in rows)
    for_second = sum(row["votes_chosen"] + row["votes_rejected"] for row in rows) - for_first
    tie_goes_to_second = hashlib.sha256(f"{prompt}\0{first}\0{second}".encode()).digest()[0] % 2 == 1
    second_wins = for_second > for_first or (for_second == for_first and tie_goes_to_second)
    return {
        **rows[0],
        "chosen": second if second_wins else first,
        "rejected": first if second_wins else second,
        "group": min(row["group"] for row in rows),
        "source": min(row["source"] for row in rows),
        "votes_chosen": max(for_first, for_second),
        "votes_rejected": min(for_first, for_second),
    }


def _is_count(value: object) -> bool:
    """Whether a cell is a whole number of at least 0; whole floats count, as a gap elsewhere makes a column float."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and value % 1 == 0


def _responses_differ(frame: pd.DataFrame) -> pd.Series:
    return _judge(frame, lambda triple: triple[1] != triple[2])


def _triple_is_new(frame: pd.DataFrame) -> pd.Series:
    seen: set[tuple[str, ...]] = set()

    def is_new(triple: tuple[str, ...]) -> bool:
        known = triple in seen
        seen.add(triple)
        return not known

    return _judge(frame, is_new)


def _is_not_contradicted(frame: pd.DataFrame) -> pd.Series:
    triples = set(stripped(frame, TRIPLE))
    return _judge(frame, lambda triple: triple[1] == triple[2] or (triple[0], triple[2], triple[1]) not in triples)


def _judge(frame: pd.DataFrame, holds: Callable[[tuple[str, ...]], bool]) -> pd.Series:
    """Judge the triples of text; rows with a cell that is no text are left to the rules about text."""
    return pd.Series([t is None or holds(t) for t in stripped(frame, TRIPLE)], index=frame.index, dtype=bool)


def _counts_hold(frame: pd.DataFrame, holds: Callable[[float, float], bool]) -> pd.Series:
    """Judge the two counts; rows where one is no count are left to the rules about counts."""
    counts = zip(frame["votes_chosen"], frame["votes_rejected"], strict=True)
    return pd.Series(
        [not (_is_count(a) and _is_count(b)) or bool(holds(a, b)) for a, b in counts], index=frame.index, dtype=bool
    )


def _vote_rule(field: str) -> Rule:
    return Rule(
        f"{field}_is_count",
        field,
        f"{field} is not a whole number of at least 0",
        "write the number of annotators; 1 and 0 where one person compared the two",
        lambda frame: frame[field].map(_is_count).astype(bool),
        (field,),
    )


RULES: tuple[Rule, ...] = (
    *text_rules("prompt"),
    *text_rules("chosen"),
    *text_rules("rejected"),
    *text_rules("group"),
    *text_rules("source"),
    _vote_rule("votes_chosen"),
    _vote_rule("votes_rejected"),
    Rule(
        "responses_differ",
        "rejected",
        "chosen and rejected are the same text",
        "remove the row: it prefers nothing",
        _responses_differ,
        TRIPLE,
    ),
    Rule(
        "pair_not_repeated",
        "prompt",
        "the same prompt, chosen and rejected stand in an earlier row",
        "merge repeated labels into votes with aggregate_votes, or remove the copy",
        _triple_is_new,
        TRIPLE,
    ),
    Rule(
        "pair_not_contradicted",
        "chosen",
        "another row prefers the other response of this pair",
        "merge the labels into votes with aggregate_votes, or decide for one of them",
        _is_not_contradicted,
        TRIPLE,
    ),
    Rule(
        "votes_cast",
        "votes_chosen",
        "no annotator voted on this pair",
        "remove the row, or have it labelled",
        lambda frame: _counts_hold(frame, lambda chosen, rejected: chosen + rejected > 0),
        ("votes_chosen", "votes_rejected"),
    ),
    Rule(
        "votes_favour_chosen",
        "votes_rejected",
        "more annotators voted for rejected than for chosen",
        "swap the two responses and their votes",
        lambda frame: _counts_hold(frame, lambda chosen, rejected: chosen >= rejected),
        ("votes_chosen", "votes_rejected"),
    ),
    groups_disjoint(),
)
SCHEMA = schema(COLUMNS["preferences"], RULES)
