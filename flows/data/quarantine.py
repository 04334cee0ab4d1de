"""Quarantine: rows that break a rule are counted, written to a file, and named where they refuse the data."""

import csv
import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.records import COLUMNS, Kind
from data_contracts.schemas.rules import Rule
from data_contracts.schemas.validation import CONTRACTS, Violation, describe
from flows.config.data import ContractConfig

SHOWN_PER_RULE = 10

ROWS_AT_ONCE = 20_000

HEADER = (*Violation._fields, "record")


class RowsRefused(ValueError):
    """Rows of a table that refuse it; the message names places and mends, never texts."""


class QuarantineExceeded(RowsRefused):
    """More rows were set aside than the configuration allows."""


class Quarantine:
    """What was set aside of one table.

    Attributes:
        path: the CSV file with all of them.
        rows: count of records; one that breaks several rules counts once.
        by_rule: records by rule.
    """

    def __init__(self, kind: Kind, path: Path, config: ContractConfig) -> None:
        self.kind = kind
        self.path = path
        self.rows = 0
        self.by_rule: Counter[str] = Counter()
        self._config = config
        self._rules = CONTRACTS[kind].rules
        self._shown: dict[str, list[Violation]] = {}
        self._file = path.open("w", encoding="utf-8", newline="")
        self._out = csv.writer(self._file)
        self._out.writerow(HEADER)

    def close(self) -> None:
        """Finish the file."""
        self._file.close()

    def add_misfits(self, misfits: Iterable[Violation]) -> None:
        """Set aside raw rows that gave no record."""
        for item in misfits:
            self.rows += 1
            self._note(item, "")

    def sift(self, frame: pd.DataFrame, broken: dict[str, NDArray[np.bool_]]) -> pd.DataFrame:
        """Set aside the rows that break a rule, and return the others."""
        if not broken:
            return frame
        for name, rows in broken.items():
            self._add(self._rules[name], frame[rows])
        aside = np.logical_or.reduce(list(broken.values()))
        self.rows += int(aside.sum())
        sound: pd.DataFrame = frame[~aside].reset_index(drop=True)
        return sound

    @property
    def examples(self) -> list[Violation]:
        """The first rows that break each rule."""
        return [item for shown in self._shown.values() for item in shown]

    def judge(self, records: int) -> RowsRefused | None:
        """Whether the table is refused, after all of its records were seen."""
        fatal = [name for name in self._shown if self._is_fatal(name)]
        if fatal:
            return RowsRefused("\n".join([f"{self.kind} break fatal rules of their contract", *self._lines(fatal)]))
        if self.rows > self._config.max_quarantined * records:
            head = (
                f"{self.kind}: {self.rows} of {records} records would be quarantined, more than the share of "
                f"{self._config.max_quarantined:g} that contract.max_quarantined allows"
            )
            return QuarantineExceeded("\n".join([head, *self._lines(self._shown)]))
        return None

    def _add(self, rule: Rule, frame: pd.DataFrame) -> None:
        for start in range(0, len(frame), ROWS_AT_ONCE):
            part = frame[start : start + ROWS_AT_ONCE]
            records = part[list(COLUMNS[self.kind])].to_dict("records")
            for item, record in zip(describe(rule, part), records, strict=True):
                self._note(item, json.dumps(record, default=repr))

    def _note(self, item: Violation, record: str) -> None:
        self.by_rule[item.rule] += 1
        shown = self._shown.setdefault(item.rule, [])
        if len(shown) < SHOWN_PER_RULE:
            shown.append(item)
        self._out.writerow([*item, record])

    def _is_fatal(self, name: str) -> bool:
        handling = self._config.rules.get(name)
        return self._rules[name].fatal if handling is None else handling == "fatal"

    def _lines(self, names: Iterable[str]) -> list[str]:
        lines = []
        for name in names:
            shown = self._shown[name]
            lines.append(f"  {name} ({self.by_rule[name]}). Mend: {shown[0].mend}.")
            lines.extend(f"    {item.place}: {item.reason}" for item in shown)
            if self.by_rule[name] > len(shown):
                lines.append(f"    and {self.by_rule[name] - len(shown)} more")
        return lines
