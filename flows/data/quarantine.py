"""Quarantine: rows that break a rule are counted, written to a file, and named where they refuse the data."""

import csv
import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import compress, zip_longest
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.records import COLUMNS, Kind
from data_contracts.schemas.rules import LONGEST_TEXT, Rule
from data_contracts.schemas.validation import CONTRACTS, Violation, describe
from flows.config.data import ContractConfig

SHOWN_PER_RULE = 10

REASONS_FIRST = 3
"""Reasons that a refusal says before it names any place."""

ROWS_AT_ONCE = 20_000

BEGINNING = 1_000
"""Characters that are kept of a text that is longer than any sound one: a small file may hold it a thousand times."""

HEADER = (*Violation._fields, "record")


class RowsRefused(ValueError):
    """Rows of a table that refuse it; the message names places and mends, never texts.

    Attributes:
        reasons: lines on why: how many rows, and the largest reasons with counts, shares and mends.
        places: lines on where: the first rows of each reason.
    """

    def __init__(self, reasons: Sequence[str], places: Sequence[str]) -> None:
        super().__init__("\n".join([*reasons, *places]))
        self.reasons = reasons
        self.places = places


class QuarantineExceeded(RowsRefused):
    """More rows were set aside than the configuration allows."""


class Quarantine:
    """What was set aside of one table.

    Attributes:
        path: the CSV file with all of them.
        rows: count of records; one that breaks several rules counts once.
        by_rule: records by rule.
        by_reason: records by rule, field and what is wrong, as a rule on the shape of rows knows several wrongs.
        first: of each of these, the one of the first row, as rules on several rows see them in another order.
    """

    def __init__(self, kind: Kind, path: Path, config: ContractConfig) -> None:
        self.kind = kind
        self.path = path
        self.rows = 0
        self.by_rule: Counter[str] = Counter()
        self.by_reason: Counter[tuple[str, str, str]] = Counter()
        self.first: dict[tuple[str, str, str], Violation] = {}
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

    def sift(
        self, frame: pd.DataFrame, broken: dict[str, NDArray[np.bool_]], places: Sequence[str] = ()
    ) -> pd.DataFrame:
        """Set aside the rows that break a rule, and return the others.

        Args:
            frame: of records.
            broken: by rule, which of them break it.
            places: for each of the frame, which other row the reason is about.
        """
        if not broken:
            return frame
        for name, rows in broken.items():
            self._add(self._rules[name], frame[rows], list(compress(places, rows)))
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
            head = f"{self.kind} break fatal rules of their contract"
            return RowsRefused([head, *self._reasons(fatal, records)], self._places(fatal))
        if self.rows > self._config.allowed(self.kind) * records:
            enough = math.ceil(20 * self.rows / records) / 20
            head = (
                f"{self.kind}: {self.rows} of {records} records would be quarantined, more than the share of "
                f"{self._config.allowed(self.kind):g} that contract.max_quarantined allows; mend them, or allow it: "
                f"`contract: {{max_quarantined: {{{self.kind}: {enough:g}}}}}`"
            )
            return QuarantineExceeded([head, *self._reasons(self._shown, records)], self._places(self._shown))
        return None

    def _add(self, rule: Rule, frame: pd.DataFrame, places: Sequence[str]) -> None:
        for start in range(0, len(frame), ROWS_AT_ONCE):
            part = frame[start : start + ROWS_AT_ONCE]
            records = part[list(COLUMNS[self.kind])].to_dict("records")
            for item, record, place in zip_longest(describe(rule, part), records, places[start : start + ROWS_AT_ONCE]):
                kept = {field: _begun(cell) for field, cell in record.items()}
                self._note(item, json.dumps(kept, default=repr), place)

    def _note(self, item: Violation, record: str, place: str | None = None) -> None:
        what = item.rule, item.field, item.reason
        self.by_rule[item.rule] += 1
        self.by_reason[what] += 1
        self.first[what] = min(self.first.get(what, item), item, key=lambda each: (each.source, each.row or 0))
        if place is not None:
            item = item._replace(reason=f"{item.reason}: {place}")
        shown = self._shown.setdefault(item.rule, [])
        if len(shown) < SHOWN_PER_RULE:
            shown.append(item)
        self._out.writerow([*item, record])

    def _is_fatal(self, name: str) -> bool:
        handling = self._config.rules.get(name)
        return self._rules[name].fatal if handling is None else handling == "fatal"

    def _reasons(self, names: Iterable[str], records: int) -> list[str]:
        """The largest reasons, with count, share of the records and mend."""
        known = set(names)
        largest = [item for item in self.by_reason.most_common() if item[0][0] in known][:REASONS_FIRST]
        return [
            f"  {count / records:.1%} {name} ({count}). Mend: {self._rules[name].mend} "
            f"({f'field {field}: ' if field else ''}{reason})"
            for (name, field, reason), count in largest
        ]

    def _places(self, names: Iterable[str]) -> list[str]:
        """The first rows that break each rule, the rule that most rows break first."""
        lines = []
        for name in sorted(names, key=lambda name: -self.by_rule[name]):
            shown = self._shown[name]
            lines.append(f"  {self.kind}, {name} ({self.by_rule[name]}). Mend: {shown[0].mend}.")
            lines.extend(f"    {item.place}: {item.reason}" for item in shown)
            if self.by_rule[name] > len(shown):
                lines.append(f"    and {self.by_rule[name] - len(shown)} more")
        return lines


def _begun(cell: object) -> object:
    """A cell as the file has it: whole, or the beginning of a text that is too long."""
    if isinstance(cell, str) and len(cell) > LONGEST_TEXT:
        return f"{cell[:BEGINNING]}… ({len(cell):,} characters)"
    return cell
