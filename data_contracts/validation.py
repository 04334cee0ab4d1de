"""Run a contract over every row and report all violations at once."""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
import pandera.errors
import pandera.pandas as pa

from data_contracts import demonstrations, preferences, prompts
from data_contracts.records import COLUMNS, SPLIT, Kind
from data_contracts.rules import Rule, schema

ROW = "row"
"""Name of an index that holds row numbers of the source; without it, rows are counted from 1."""

SHOWN_PER_RULE = 10

CONTRACTS: dict[Kind, tuple[pa.DataFrameSchema, tuple[Rule, ...]]] = {
    "demonstrations": (demonstrations.SCHEMA, demonstrations.RULES),
    "preferences": (preferences.SCHEMA, preferences.RULES),
    "prompts": (prompts.SCHEMA, prompts.RULES),
}


class Violation(NamedTuple):
    """One rule broken by one row. The row's text is never part of it, so that it may be logged.

    Attributes:
        source: where the row comes from.
        row: its number there; None where the whole table is at fault.
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


class ContractViolation(ValueError):
    """Data that breaks its contract; `violations` holds every broken rule of every row."""

    def __init__(self, kind: Kind, violations: tuple[Violation, ...]) -> None:
        super().__init__(kind, violations)
        self.kind = kind
        self.violations = violations

    def __str__(self) -> str:
        rows = len({(item.source, item.row) for item in self.violations if item.row is not None})
        counts = Counter(item.rule for item in self.violations)
        lines = [f"{self.kind} break their contract: {len(self.violations)} violations in {rows} rows"]
        for rule, count in counts.items():
            items = [item for item in self.violations if item.rule == rule]
            lines.append(f"  {rule}: {items[0].reason} ({count}). Mend: {items[0].mend}.")
            lines.extend(f"    {_place(item)}" for item in items[:SHOWN_PER_RULE])
            if count > SHOWN_PER_RULE:
                lines.append(f"    and {count - SHOWN_PER_RULE} more")
        return "\n".join(lines)


def validate(kind: Kind, frame: pd.DataFrame, *, source: str = "", waive: Collection[str] = ()) -> pd.DataFrame:
    """Check every row against every rule of its contract.

    Args:
        kind: which contract.
        frame: the rows. An index named `row` holds their numbers in the source; else rows are counted from 1.
        source: named in violations where a row has no source of its own.
        waive: names of rules that this data may break, such as `pair_not_contradicted` before votes are merged.

    Returns:
        The frame, unchanged.

    Raises:
        ContractViolation: if a rule is broken; it lists each broken rule and row once.
        ValueError: if a rule to waive does not exist.
    """
    violations = find_violations(kind, frame, source=source, waive=waive)
    if violations:
        raise ContractViolation(kind, violations)
    return frame


def find_violations(
    kind: Kind, frame: pd.DataFrame, *, source: str = "", waive: Collection[str] = ()
) -> tuple[Violation, ...]:
    """The violations that `validate` would raise, ordered by rule and row.

    Args:
        kind: which contract.
        frame: the rows, as for `validate`.
        source: named where a row has no source of its own.
        waive: names of rules that this data may break.

    Returns:
        Each broken rule and row once; empty for sound data.

    Raises:
        ValueError: if a rule to waive does not exist.
    """
    contract, rules = _select(kind, waive)
    if frame.empty and not set(COLUMNS[kind]) - set(frame.columns):
        return (Violation(source, None, "has_rows", "", "there is no row", "check that the source is not empty"),)
    numbered = frame.reset_index(drop=True)
    try:
        contract.validate(numbered, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        broken = {str(error.check.name) for error in errors.schema_errors if isinstance(error.check, pa.Check)}
    else:
        return ()
    violations = _wrong_columns(kind, frame, source)
    missing = set(COLUMNS[kind]) - set(frame.columns)
    for rule in rules:
        if rule.name in broken and not set(rule.needs) & missing:
            violations.extend(_broken_rows(rule, frame, numbered, source))
    return tuple(violations)


def _select(kind: Kind, waive: Collection[str]) -> tuple[pa.DataFrameSchema, tuple[Rule, ...]]:
    contract, rules = CONTRACTS[kind]
    unknown = set(waive) - {rule.name for rule in rules}
    if unknown:
        raise ValueError(f"no rule of {kind} is called {sorted(unknown)}; there are {[rule.name for rule in rules]}")
    if not waive:
        return contract, rules
    kept = tuple(rule for rule in rules if rule.name not in waive)
    return schema(COLUMNS[kind], kept), kept


def _wrong_columns(kind: Kind, frame: pd.DataFrame, source: str) -> list[Violation]:
    mend = f"{kind} have the columns {', '.join(COLUMNS[kind])}"
    present = [str(name) for name in frame.columns]
    missing = [name for name in COLUMNS[kind] if name not in present]
    unknown = sorted(set(present) - {*COLUMNS[kind], SPLIT})
    return [
        *(Violation(source, None, "column_present", name, "the column is missing", mend) for name in missing),
        *(Violation(source, None, "column_known", name, "the contract has no such column", mend) for name in unknown),
    ]


def _broken_rows(rule: Rule, frame: pd.DataFrame, numbered: pd.DataFrame, source: str) -> Iterable[Violation]:
    """The rows that break a rule, found by the rule itself: Pandera reports a row once per column, with its text."""
    sources = frame["source"].tolist() if "source" in frame else [source] * len(frame)
    for position in np.flatnonzero(~rule.holds(numbered)).tolist():
        place = sources[position] if isinstance(sources[position], str) else source
        yield Violation(place, row_number(frame, position), rule.name, rule.field, rule.reason, rule.mend)


def row_number(frame: pd.DataFrame, position: int) -> int:
    """The number of a row in its source, by its position in the frame."""
    return int(frame.index[position]) if frame.index.name == ROW else int(position) + 1


def _place(item: Violation) -> str:
    place = f"{item.source or 'table'}" if item.row is None else f"{item.source or 'table'} row {item.row}"
    return f"{place}, field {item.field}" if item.field else place
