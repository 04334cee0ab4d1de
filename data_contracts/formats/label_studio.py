"""Label Studio's JSON export of a project with a `Pairwise` tag over two texts."""

from collections.abc import Iterator
from typing import Any

from data_contracts.formats.items import Item, Misfit, RawRow, Record, judged, objects_of, text_of
from data_contracts.formats.registry import adapter

_SIDES: dict[Any, int] = {"left": 1, "right": 2}
_NAMES = (("answer1", "answer2"), ("response1", "response2"), ("response_a", "response_b"), ("text1", "text2"))


def _is_task(row: RawRow) -> bool:
    return isinstance(row.get("data"), dict) and isinstance(row.get("annotations"), list)


@adapter("label-studio", "preferences", fits=_is_task)
def preferences(row: RawRow) -> Iterator[Item]:
    """Each annotation that was not cancelled is a vote; one that selects no side is a tie.

    `data` holds `prompt` and the two texts, called answer1 and answer2, response1 and response2, response_a and
    response_b, or text1 and text2. Annotators go by the number in `completed_by`, never by their address.
    """
    data = _data(row)
    names = next((pair for pair in _NAMES if pair[0] in data and pair[1] in data), None)
    if names is None:
        raise Misfit("data", f"has none of the pairs of texts {', '.join('/'.join(pair) for pair in _NAMES)}")
    first, second = (data[name] for name in names)
    opinions = [(_annotator(item), _vote(item)) for item in objects_of(row, "annotations")]
    yield from judged(text_of(data, "prompt"), first, second, opinions)


@adapter("label-studio", "prompts", fits=_is_task)
def prompts(row: RawRow) -> Iterator[Record]:
    """The prompt of a task."""
    yield {"prompt": text_of(_data(row), "prompt")}


def _data(row: RawRow) -> RawRow:
    data = text_of(row, "data")
    if not isinstance(data, dict):
        raise Misfit("data", "is not an object")
    return data


def _annotator(annotation: RawRow) -> str | None:
    by = annotation.get("completed_by")
    number = by.get("id") if isinstance(by, dict) else by
    return f"annotator {number}" if isinstance(number, int) else None


def _vote(annotation: RawRow) -> int | None:
    if annotation.get("was_cancelled"):
        return None
    marks = [item for item in objects_of(annotation, "result") if item.get("type") == "pairwise"]
    if not marks:
        return 0
    value = marks[-1].get("value")
    selected = value.get("selected") if isinstance(value, dict) else None
    if selected is not None and selected not in _SIDES:
        raise Misfit("annotations", "has a pairwise selection that is neither left nor right")
    return _SIDES.get(selected, 0)
