"""What annotators said of two responses, from the columns that a configuration maps."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from data_contracts.formats.fields import number_of, whole_number_of
from data_contracts.formats.items import Misfit, RawRow
from data_contracts.formats.json_text import DECODER, RepeatedKey
from flows.config.columns import ColumnFormat, Meaning, Scale, VoteColumns, label_text

LONGEST_LABEL = 40
"""Characters of a label that an error may show; what is longer is a text of the data."""

MOST_VOTES = 10_000

_VOTES = {"first": 1, "second": 2, "tie": 0}

_TICKS = {"true": 1, "false": 0, "yes": 1, "no": 0, "x": 1}


class Opinion(NamedTuple):
    """What one annotator said of two responses.

    Attributes:
        annotator: the name, None where it is not known or stands in a column of its own.
        meaning: None where nothing was said.
    """

    annotator: str | None
    meaning: Meaning | None

    @property
    def vote(self) -> int | None:
        """1 or 2 for a response, 0 for a tie, None for no vote."""
        return _VOTES.get(self.meaning.says) if self.meaning else None

    @property
    def lead(self) -> float:
        """By how much the first response is better, below 0 where the second is."""
        return self.meaning.grade * {1: 1, 2: -1}.get(self.vote or 0, 0) if self.meaning else 0.0


def opinions_of(mapping: ColumnFormat, row: RawRow) -> list[Opinion]:
    """What all annotators of a row said.

    Args:
        mapping: with `label` or `votes`.
        row: the mapped columns.

    Raises:
        Misfit: naming the column, if something stands there that the configuration does not explain.
    """
    columns = mapping.columns
    if columns.votes:
        return _counted(columns.votes, row)
    if len(columns.label) > 1:
        return [Opinion(name, _meaning(mapping, row, name, row.get(name))) for name in columns.label]
    (name,) = columns.label
    match _nested(row, name):
        case dict() as labels:
            return [Opinion(str(who), _meaning(mapping, row, name, label)) for who, label in labels.items()]
        case list() as labels:
            return [Opinion(None, _meaning(mapping, row, name, label)) for label in labels]
        case label:
            return [Opinion(None, _meaning(mapping, row, name, label))]


def _meaning(mapping: ColumnFormat, row: RawRow, column: str, cell: Any) -> Meaning | None:
    text = label_text(cell)
    if mapping.scale:
        return _on_scale(mapping.scale, number_of({column: cell}, column), column)
    called = [label_text(row.get(name)) for name in mapping.columns.names]
    if text and text in called:
        if called[0] == called[1]:
            raise Misfit(column, "names a response, and both are called the same", rule="label_is_known")
        return Meaning(says="first" if text == called[0] else "second")
    if text in mapping.labels:
        return mapping.labels[text]
    if text:
        raise Misfit(column, _unknown(cell, mapping.labels, mapping.columns.names), rule="label_is_known")
    return None


def _unknown(cell: Any, labels: Mapping[str, Meaning], names: Sequence[str]) -> str:
    text = str(cell).strip()
    shown = repr(text) if len(text) <= LONGEST_LABEL else f"a text of {len(text)} characters"
    known = [*(repr(label) for label in labels), *(f"what stands in {name}" for name in names)]
    return f"holds {shown}, which is none of the labels {', '.join(known)}"


def _on_scale(scale: Scale, number: float | None, column: str) -> Meaning | None:
    if number is None:
        return None
    low, high = sorted((scale.first, scale.second))
    if not low <= number <= high:
        raise Misfit(column, f"holds {number:g}, beyond the scale from {low:g} to {high:g}", rule="label_is_known")
    from_middle = number - (low + high) / 2
    if not from_middle:
        return Meaning(says="tie")
    return Meaning(says="first" if (from_middle < 0) == (scale.first == low) else "second", grade=abs(from_middle))


def _counted(votes: VoteColumns, row: RawRow) -> list[Opinion]:
    opinions: list[Opinion] = []
    for says in ("first", "second", "tie"):
        column = getattr(votes, says)
        if column is not None:
            opinions += [Opinion(None, Meaning(says=says))] * _count(row, column)
    return opinions


def _count(row: RawRow, column: str) -> int:
    """How many annotators a column counts; a tick is one."""
    count = _TICKS.get(str(row.get(column)).strip().casefold())
    if count is None:
        count = whole_number_of(row, column) or 0
    if not 0 <= count <= MOST_VOTES:
        raise Misfit(column, f"is no count of votes from 0 to {MOST_VOTES:,}")
    return count


def _nested(row: RawRow, column: str) -> Any:
    """A list or an object that is written as JSON text, as columns of text hold them, as itself."""
    cell = row.get(column)
    if isinstance(cell, str) and cell.strip()[:1] in ("[", "{"):
        try:
            return DECODER.decode(cell)
        except RepeatedKey as error:
            raise Misfit(column, str(error)) from None
        except (ValueError, RecursionError):
            return cell
    return cell
