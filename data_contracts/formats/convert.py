"""Conversion of raw rows into a batch of records, each with the file and row that it comes from."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import pandas as pd

from data_contracts.conversation import is_conversation, opening, write_conversation
from data_contracts.formats.fields import stripped
from data_contracts.formats.items import WEIGHTS, Ballot, Convert, Item, LeftOut, Misfit, RawRow, Record, Tie
from data_contracts.records import COLUMNS, Kind
from data_contracts.sameness import same_form
from data_contracts.schemas.preferences import TIED, tie_goes_to_second
from data_contracts.schemas.rules import SHAPE
from data_contracts.schemas.validation import Violation

_RULES = {rule.name: rule for rule in SHAPE}


class SourceRow(NamedTuple):
    """A raw row with where it comes from: the short name of its file and its number there, from 1."""

    source: str
    number: int
    row: RawRow


class Cast(NamedTuple):
    """A ballot with where it comes from, and the prompt or opening turn by which agreement is measured.

    `texts` are the prompt and the two responses; empty where a format does not say.
    """

    source: str
    row: int
    group: str
    votes: tuple[tuple[str | None, int], ...]
    texts: tuple[str, ...] = ()


class Batch(NamedTuple):
    """What became of some raw rows: each gave at least one record, one part left out, or one misfit.

    Attributes:
        frame: the records, in the columns of their kind; cells may still be anything.
        left_out: what the format itself does not count as a record, by reason.
        misfits: rows that are not what their format says.
        votes: what several people said of the rows, whatever became of these.
        rows: count of raw rows.
        annotators: who compared the pair of each record, None where that is not known.
        remarks: what a person should know of the file, a sentence each.
        voters: whose votes a raw row itself holds, by name, with its file and number.
        weights: of the votes of each record that prefer a response, where one counts as several; else empty.
    """

    frame: pd.DataFrame
    left_out: Counter[str]
    misfits: list[Violation]
    votes: list[Cast]
    rows: int
    annotators: list[str | None]
    remarks: tuple[str, ...] = ()
    voters: tuple[tuple[str, int, str], ...] = ()
    weights: Sequence[tuple[int, ...]] = ()


def convert_rows(
    kind: Kind, convert: Convert, rows: Iterable[SourceRow], *, synthetic: bool = False, ties: bool = False
) -> Batch:
    """Turn raw rows into records; texts lose surrounding white space.

    Args:
        kind: what the format makes of them.
        convert: the function of the format.
        rows: raw rows with where they come from.
        synthetic: whether rows marked `synthetic` may be used.
        ties: whether pairs of which nobody knows the better response are records.
    """
    records: list[Record] = []
    left_out: Counter[str] = Counter()
    misfits: list[Violation] = []
    votes: list[Cast] = []
    voters: list[tuple[str, int, str]] = []
    count = 0
    for source, number, row in rows:
        count += 1
        try:
            refused = row.get("synthetic") and not synthetic
            items: list[Item] = [LeftOut("synthetic row")] if refused else list(convert(row))
        except Misfit as misfit:
            rule = _RULES[misfit.rule]
            misfits.append(Violation(source, number, rule.name, misfit.field, misfit.reason, rule.mend))
            continue
        items = [LeftOut(TIED) if isinstance(item, Tie) and not (ties and _differ(item)) else item for item in items]
        left_out.update(item.reason for item in items if isinstance(item, LeftOut))
        votes += [
            Cast(source, number, str(_group(item.prompt)), item.votes, _texts(item))
            for item in items
            if isinstance(item, Ballot) and len(item.votes) > 1 and kind == "preferences"
        ]
        named = (name for item in items if isinstance(item, Ballot) for name, _ in item.votes if name is not None)
        voters += [(source, number, name) for name in dict.fromkeys(named)]
        in_order = [_in_any_order(item.record) if isinstance(item, Tie) else item for item in items]
        records += [_complete(kind, item, source, number) for item in in_order if isinstance(item, dict)]
        if all(isinstance(item, Ballot) for item in items):
            left_out["row without any record"] += 1
    # Object columns hold any cell, such as a number or a lone surrogate: it is for the contract to refuse it by row.
    frame = pd.DataFrame(records, columns=list(COLUMNS[kind]), dtype=object)
    annotators = [record.get("annotator") for record in records]
    weights = [record.get(WEIGHTS, ()) for record in records]
    batch = Batch(frame, left_out, misfits, votes, count, annotators, voters=tuple(voters))
    return batch._replace(weights=weights) if any(weights) else batch


def _complete(kind: Kind, record: Record, source: str, number: int) -> Record:
    prompt = record.get("prompt")
    whole: dict[str, Any] = {
        **{name: stripped(cell) for name, cell in record.items()},
        "prompt": write_conversation(prompt) if is_conversation(prompt) else stripped(prompt),
        "group": stripped(record["group"]) if "group" in record else _group(prompt),
        "source": source,
        "row": number,
    }
    if kind == "preferences":
        whole = {"votes_chosen": 1, "votes_rejected": 0, "votes_tied": 0, "grade": 0.0} | whole
    return whole


def _texts(ballot: Ballot) -> tuple[str, ...]:
    prompt = write_conversation(ballot.prompt) if is_conversation(ballot.prompt) else ballot.prompt
    cells = (prompt, *ballot.responses) if ballot.responses else ()
    return tuple(str(stripped(cell)) for cell in cells)


def _differ(tie: Tie) -> bool:
    """Whether a tie is between two responses; of one that stands there twice nothing can be learnt."""
    chosen, rejected = tie.record["chosen"], tie.record["rejected"]
    both = isinstance(chosen, str) and isinstance(rejected, str)
    return not both or same_form(chosen.strip()) != same_form(rejected.strip())


def _in_any_order(record: Record) -> Record:
    """A tied pair whose texts alone say which response stands as chosen, so that its place in the row does not."""
    first, second = sorted((record["chosen"], record["rejected"]), key=str)
    swapped = tie_goes_to_second(str(record["prompt"]), str(first), str(second))
    return {**record, "chosen": second if swapped else first, "rejected": first if swapped else second}


def _group(prompt: Any) -> Any:
    return opening(prompt) if is_conversation(prompt) else stripped(prompt)
