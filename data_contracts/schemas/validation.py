"""Run a contract over rows and report all violations at once."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
import pandera.errors
import pandera.pandas as pa
from numpy.typing import NDArray

from data_contracts.records import COLUMNS, Kind
from data_contracts.schemas import demonstrations, preferences, prompts
from data_contracts.schemas.rules import LEAK, NEAR_LEAK, SHAPE, VOTED_TWICE, Rule, schema


class Contract(NamedTuple):
    """The rules of a kind of data: what each row must meet, and what rows with the same texts must meet together."""

    row_rules: tuple[Rule, ...]
    set_rules: tuple[Rule, ...]

    @property
    def rules(self) -> dict[str, Rule]:
        """All rules that a row can break, by name, in the order in which they are judged."""
        return {rule.name: rule for rule in (*SHAPE, *self.row_rules, *self.set_rules, VOTED_TWICE, LEAK, NEAR_LEAK)}


CONTRACTS: dict[Kind, Contract] = {
    "demonstrations": Contract(demonstrations.RULES, demonstrations.SET_RULES),
    "preferences": Contract(preferences.RULES, preferences.SET_RULES),
    "prompts": Contract(prompts.RULES, prompts.SET_RULES),
}


class Violation(NamedTuple):
    """One rule broken by one row. The row's text is never part of it, so that it may be logged.

    Attributes:
        source: the file that the row comes from.
        row: its number there; None where the whole file is at fault.
        rule: name of the rule.
        field: the column at fault.
        reason: what is wrong.
        mend: what to do about it.
    """

    source: str
    row: int | None
    rule: str
    field: str
    reason: str
    mend: str

    @property
    def place(self) -> str:
        """File, row and field as people read them."""
        parts = [self.source, *([f"row {self.row}"] if self.row is not None else [])]
        return f"{' '.join(parts)}, field {self.field}" if self.field else " ".join(parts)


def broken_rules(kind: Kind, frame: pd.DataFrame, rules: Sequence[Rule]) -> dict[str, NDArray[np.bool_]]:
    """Which rows break which rules; Pandera runs all of them before it reports.

    Args:
        kind: which columns the frame must have.
        frame: the rows.
        rules: what they must meet.

    Returns:
        For each broken rule, in their order, one boolean per row, True where it is broken.

    Raises:
        pandera.errors.SchemaErrors: if a column is missing or unknown.
    """
    if frame.empty:
        return {}
    try:
        _schema(kind, tuple(rules)).validate(frame.reset_index(drop=True), lazy=True)
    except pandera.errors.SchemaErrors as errors:
        checks = [error.check for error in errors.schema_errors]
        broken = {str(check.name) for check in checks if isinstance(check, pa.Check)}
        if broken - {rule.name for rule in rules} or len(broken) < len(checks):
            raise
        return {rule.name: ~rule.holds(frame).to_numpy(dtype=bool) for rule in rules if rule.name in broken}
    return {}


def describe(rule: Rule, frame: pd.DataFrame) -> list[Violation]:
    """Rows that break a rule, as violations."""
    return [
        Violation(str(source), int(row), rule.name, rule.field, rule.reason, rule.mend)
        for source, row in zip(frame["source"].tolist(), frame["row"].tolist(), strict=True)
    ]


@cache
def _schema(kind: Kind, rules: tuple[Rule, ...]) -> pa.DataFrameSchema:
    return schema(COLUMNS[kind], rules)
