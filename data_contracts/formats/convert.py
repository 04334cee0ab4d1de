"""Raw rows of a format as a batch of records, each with the file and row that it comes from."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import pandas as pd

from data_contracts.conversation import opening, write_conversation
from data_contracts.formats.items import Convert, LeftOut, Misfit, RawRow, Record, stripped
from data_contracts.records import COLUMNS, Kind
from data_contracts.rules import SHAPE
from data_contracts.validation import Violation

_RULES = {rule.name: rule for rule in SHAPE}


class SourceRow(NamedTuple):
    """A raw row with its place: the short name of its file and its number there, from 1."""

    source: str
    number: int
    row: RawRow


class Batch(NamedTuple):
    """What became of some raw rows: each gave at least one record, one part left out, or one misfit.

    Attributes:
        frame: the records, in the columns of their kind; cells may still be anything.
        left_out: what the format itself does not count as a record, by reason.
        misfits: rows that are not what their format says.
        rows: count of raw rows.
    """

    frame: pd.DataFrame
    left_out: Counter[str]
    misfits: list[Violation]
    rows: int


def convert_rows(kind: Kind, convert: Convert, rows: Iterable[SourceRow], *, synthetic: bool = False) -> Batch:
    """Turn raw rows into records; texts lose surrounding white space.

    Args:
        kind: what the format makes of them.
        convert: the function of the format.
        rows: raw rows with their places.
        synthetic: whether rows marked `synthetic` may be used.
    """
    records: list[Record] = []
    left_out: Counter[str] = Counter()
    misfits: list[Violation] = []
    count = 0
    for source, number, row in rows:
        count += 1
        try:
            made = [LeftOut("synthetic row")] if row.get("synthetic") and not synthetic else list(convert(row))
        except Misfit as misfit:
            rule = _RULES[misfit.rule]
            misfits.append(Violation(source, number, rule.name, misfit.field, misfit.reason, rule.mend))
            continue
        left_out.update(item.reason for item in made if isinstance(item, LeftOut))
        records += [_complete(kind, item, source, number) for item in made if not isinstance(item, LeftOut)]
        if not made:
            left_out["row without any record"] += 1
    # Object columns hold any cell, such as a number or a lone surrogate: it is for the contract to refuse it by row.
    frame = pd.DataFrame(records, columns=list(COLUMNS[kind]), dtype=object)
    return Batch(frame, left_out, misfits, count)


def _complete(kind: Kind, record: Record, source: str, number: int) -> Record:
    prompt = record.get("prompt")
    group = record.get("group", opening(prompt) if isinstance(prompt, list) else prompt)
    whole: dict[str, Any] = {
        **{name: stripped(cell) for name, cell in record.items()},
        "prompt": write_conversation(prompt) if isinstance(prompt, list) else stripped(prompt),
        "group": stripped(group),
        "source": source,
        "row": number,
    }
    if kind == "preferences":
        whole = {"votes_chosen": 1, "votes_rejected": 0} | whole
    return whole
