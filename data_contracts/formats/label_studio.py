"""Label Studio's JSON export of a project with a `Pairwise` tag over two texts."""

from collections.abc import Iterator
from typing import Any

from data_contracts.formats.fields import cell_of, objects_of, text_of, turns_of
from data_contracts.formats.items import Item, Misfit, RawRow, Record, judged
from data_contracts.formats.registry import adapter

_SIDES: dict[Any, int] = {"left": 1, "right": 2}
_NAMES = (("answer1", "answer2"), ("response1", "response2"), ("response_a", "response_b"), ("text1", "text2"))


def _is_task(row: RawRow) -> bool:
    return isinstance(row.get("data"), dict) and "annotations" in row and isinstance(row["annotations"], list | None)


@adapter("label-studio", "preferences", fits=_is_task, precedence=20)
def preferences(row: RawRow) -> Iterator[Item]:
    """Each annotation that was not cancelled and is not empty is a vote; a mark that selects no side is a tie.

    `data` holds `prompt` and the two texts, called answer1 and answer2, response1 and response2, response_a and
    response_b, or text1 and text2. Annotators go by the number in `completed_by`, never by their address.
    """
    data = _data(row)
    names = next((pair for pair in _NAMES if all(data.get(name) is not None for name in pair)), None)
    if names is None:
        raise Misfit("data", f"has none of the pairs of texts {', '.join('/'.join(pair) for pair in _NAMES)}")
    first, second = (text_of(data, name) for name in names)
    opinions = [(_annotator(item), _vote(item)) for item in _listed(row, "annotations")]
    yield from judged(turns_of(data, "prompt"), first, second, opinions)


@adapter("label-studio", "prompts", fits=_is_task, precedence=20)
def prompts(row: RawRow) -> Iterator[Record]:
    """The prompt of a task."""
    yield {"prompt": turns_of(_data(row), "prompt")}


def _data(row: RawRow) -> RawRow:
    data = cell_of(row, "data")
    if not isinstance(data, dict):
        raise Misfit("data", "is not an object")
    return data


def _annotator(annotation: RawRow) -> str | None:
    by = annotation.get("completed_by")
    number = by.get("id") if isinstance(by, dict) else by
    return f"annotator {number}" if isinstance(number, int) else None


def _vote(annotation: RawRow) -> int | None:
    """1 or 2 for a side, 0 for none of both; None where nothing was said.

    Raises:
        Misfit: if the comparison was made by another control than one Pairwise.
    """
    result = _listed(annotation, "result")
    if annotation.get("was_cancelled") or not result:
        return None
    marks = [item for item in result if item.get("type") == "pairwise"]
    if not marks:
        controls = ", ".join(sorted({str(item.get("type")) for item in result}))
        raise Misfit("annotations", f"has a result by {controls} and none by Pairwise, the one control that is read")
    if len({str(mark.get("from_name")) for mark in marks}) > 1:
        raise Misfit("annotations", "has results by several Pairwise controls; export one of them")
    value = marks[-1].get("value")
    selected = value.get("selected") if isinstance(value, dict) else None
    if selected is not None and (not isinstance(selected, str) or selected not in _SIDES):
        raise Misfit("annotations", "has a pairwise selection that is neither left nor right")
    return _SIDES.get(selected, 0)


def _listed(row: RawRow, field: str) -> list[RawRow]:
    """The objects in a field, none where it is null or missing."""
    return [] if row.get(field) is None else objects_of(row, field)
