"""Rules that every dataset shares, each with the reason it exists and the mend a person can apply."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import pandera.pandas as pa

from data_contracts.records import SPLIT


@dataclass(frozen=True)
class Rule:
    """One thing that must hold for every row.

    Attributes:
        field: the column that the rule is about.
        reason: what is wrong with a row that breaks it, as a clause without the row's text.
        mend: what to do about it.
        holds: from the frame to one boolean per row, True where the row is sound.
        needs: the columns that `holds` reads.
    """

    name: str
    field: str
    reason: str
    mend: str
    holds: Callable[[pd.DataFrame], pd.Series]
    needs: tuple[str, ...]

    def check(self) -> pa.Check:
        """The rule as a Pandera check on the frame; empty cells are judged, not skipped."""
        return pa.Check(self.holds, name=self.name, description=self.reason, ignore_na=False)


def schema(columns: tuple[str, ...], rules: tuple[Rule, ...]) -> pa.DataFrameSchema:
    """A schema of exactly these columns, in any order, with an optional split.

    Column types are left to the rules, so that one wrong cell is reported with its row and not as a wrong column.
    """
    declared = {name: pa.Column(nullable=True) for name in columns}
    declared[SPLIT] = pa.Column(nullable=True, required=False)
    return pa.DataFrameSchema(declared, checks=[rule.check() for rule in rules], strict=True)


def text_rules(field: str) -> tuple[Rule, Rule]:
    """The two rules of a text column: it holds text, and not only white space."""
    return (
        Rule(
            f"{field}_is_text",
            field,
            f"{field} is not a string that UTF-8 can hold",
            "write the value as a JSON string, or remove the row",
            lambda frame: frame[field].map(is_text).astype(bool),
            (field,),
        ),
        Rule(
            f"{field}_not_empty",
            field,
            f"{field} is empty or only white space",
            f"fill in {field}, or remove the row",
            lambda frame: frame[field].map(lambda cell: not isinstance(cell, str) or bool(cell.strip())).astype(bool),
            (field,),
        ),
    )


def groups_disjoint() -> Rule:
    """Rows of one group, in one split: otherwise held-out figures are measured on what was trained on."""

    def holds(frame: pd.DataFrame) -> pd.Series:
        if SPLIT not in frame:
            return pd.Series(True, index=frame.index)
        return frame.groupby(frame["group"].map(str))[SPLIT].transform("nunique").le(1).astype(bool)

    return Rule(
        "groups_disjoint",
        "group",
        "the rows of this group lie in more than one split",
        "split by group, so that held-out rows are unlike training rows",
        holds,
        ("group",),
    )


def is_text(value: object) -> bool:
    """Whether a cell is a string without lone surrogates, which no UTF-8 file can hold."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def stripped(frame: pd.DataFrame, fields: tuple[str, ...]) -> list[tuple[str, ...] | None]:
    """The named cells of each row without surrounding white space, None for a row where one is not text."""
    rows = zip(*(frame[field] for field in fields), strict=True)
    return [tuple(map(str.strip, row)) if all(isinstance(cell, str) for cell in row) else None for row in rows]
