"""Label Studio's exports (JSON, JSON-MIN, CSV, TSV) of projects with a Pairwise, a Ranker or a Chat tag."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from data_contracts.conversation import ROLES, Message
from data_contracts.formats.fields import cell_of, objects_of, text_of, turns_of
from data_contracts.formats.items import Item, LeftOut, Misfit, RawRow, Record, judged
from data_contracts.formats.json_text import DECODER
from data_contracts.formats.rankings import Ranking, by_rankings
from data_contracts.formats.registry import adapter, has

_SIDES: dict[Any, int] = {"left": 1, "right": 2}
_NAMES = (("answer1", "answer2"), ("response1", "response2"), ("response_a", "response_b"), ("text1", "text2"))
_BODIES = ("body", "text", "title")
"""Fields of a listed response, of which the first that there is holds it."""

_CONTROLS = {"pairwise": "selected", "ranker": "ranker", "chatmessage": "chatmessage"}
"""The controls that are read, and the field of a result's value in which each keeps what was said."""

_is_min = has("annotator", "annotation_id", "lead_time")


class _Annotation(NamedTuple):
    """What one annotator did: each result by its type, and the name of its control and its value."""

    annotator: str | None
    results: list[tuple[str, str, RawRow]]

    def by(self, control: str) -> list[RawRow]:
        """The values of one control.

        Raises:
            Misfit: if several controls of that type were used.
        """
        marks = [(name, value) for kind, name, value in self.results if kind == control]
        if control != "chatmessage" and len({name for name, _ in marks}) > 1:
            raise Misfit("annotations", f"has results by several {control.title()} controls; export one of them")
        return [value for _, value in marks]


def _is_task(row: RawRow) -> bool:
    return isinstance(row.get("data"), dict) and "annotations" in row and isinstance(row["annotations"], list | None)


def _is_export(row: RawRow) -> bool:
    return _is_task(row) or _is_min(row)


def _is_chat(row: RawRow) -> bool:
    """Whether people wrote messages, and compared nothing."""
    try:
        controls = {kind for item in _annotations(row) for kind, *_ in item.results} if _is_export(row) else set()
    except Misfit:
        return False
    return "chatmessage" in controls and not controls & {"pairwise", "ranker"}


def _is_comparison(row: RawRow) -> bool:
    return _is_export(row) and not _is_chat(row) and (_is_task(row) or _texts(row) is not None or bool(_lists(row)))


@adapter("label-studio", "preferences", fits=_is_comparison, precedence=20)
def preferences(row: RawRow) -> Iterator[Item]:
    """Each annotation that was not cancelled and is not empty is a vote; a mark that selects no side is a tie.

    The data of a task hold `prompt`, and two texts, called answer1 and answer2, response1 and response2, response_a and
    response_b, or text1 and text2; or the list that a Ranker orders, of which every pair is compared. Annotators go by
    the number in `completed_by`, never by their address. A row of JSON-MIN and CSV is one annotation.
    """
    data, annotations = _data(row), _annotations(row)
    prompt = turns_of(data, "prompt")
    texts, lists = _texts(data), _lists(data)
    if texts is not None:
        first, second = (text_of(data, name) for name in texts)
        items = judged(prompt, first, second, [(item.annotator, _vote(item)) for item in annotations])
    elif len(lists) == 1:
        (listed,) = lists.values()
        ids = [str(item["id"]) for item in listed]
        rankings = [ranking for item in annotations if (ranking := _ranking(item, ids))]
        items = by_rankings(prompt, [_response(item) for item in listed], rankings)
    else:
        pairs = ", ".join("/".join(pair) for pair in _NAMES)
        raise Misfit("data", f"has none of the pairs of texts {pairs}, and not one list of objects with an id to rank")
    alone = annotations[0].annotator if not _is_task(row) and annotations else None
    yield from ({**item, "annotator": alone} if alone and isinstance(item, dict) else item for item in items)


@adapter("label-studio", "prompts", fits=_is_comparison, precedence=20)
def prompts(row: RawRow) -> Iterator[Record]:
    """The prompt of a task."""
    yield {"prompt": turns_of(_data(row), "prompt")}


@adapter("label-studio", "demonstrations", fits=_is_chat, precedence=20)
def demonstrations(row: RawRow) -> Iterator[Record | LeftOut]:
    """The last answer of each annotator's chat: the messages of the task, and below them those that were written."""
    cells = [_loaded(cell) for cell in _data(row).values()]
    given = [cell for cell in cells if cell and _is_messages(cell) and (_is_task(row) or not any(_minimal("", cell)))]
    before = given[0] if given else []
    for item in _annotations(row):
        messages = [*before, *(value.get("chatmessage") for value in item.by("chatmessage"))]
        if not _is_messages(messages):
            raise Misfit("annotations", f"has a message whose role is not one of {', '.join(ROLES)}, or without text")
        turns = [Message(role=message["role"], content=message["content"]) for message in messages]
        if len(turns) > 1 and turns[-1]["role"] == "assistant":
            yield {"prompt": turns[:-1], "response": turns[-1]["content"], "annotator": item.annotator}
        else:
            yield LeftOut("chat that does not end with an answer")


def _data(row: RawRow) -> RawRow:
    data = cell_of(row, "data") if not _is_min(row) else row
    if not isinstance(data, dict):
        raise Misfit("data", "is not an object")
    return data


def _texts(data: RawRow) -> tuple[str, str] | None:
    return next((pair for pair in _NAMES if all(data.get(name) is not None for name in pair)), None)


def _lists(data: RawRow) -> dict[str, list[RawRow]]:
    """The lists of objects with an id that can be ranked."""
    cells = {name: _loaded(cell) for name, cell in data.items()}
    return {
        name: cell
        for name, cell in cells.items()
        if isinstance(cell, list) and len(cell) > 1 and all(isinstance(item, dict) and "id" in item for item in cell)
    }


def _response(item: RawRow) -> Any:
    field = next((name for name in _BODIES if item.get(name) is not None), None)
    if field is None:
        raise Misfit("data", f"has an item to rank without {', '.join(_BODIES)}")
    return text_of(item, field)


def _annotations(row: RawRow) -> list[_Annotation]:
    """The annotations of a task, or the one of a row of JSON-MIN or CSV, that were not cancelled and say something."""
    if _is_min(row):
        annotator = row["annotator"]
        results = [result for name, cell in row.items() for result in _minimal(name, _loaded(cell))]
        number = str(annotator).strip()
        return [_Annotation(f"annotator {number}" if number.isdecimal() else None, results)] if results else []
    return [
        _Annotation(
            _annotator(item),
            [(str(mark.get("type")), str(mark.get("from_name")), _value(mark)) for mark in _listed(item, "result")],
        )
        for item in _listed(row, "annotations")
        if not item.get("was_cancelled") and _listed(item, "result")
    ]


def _minimal(name: str, cell: Any) -> Iterator[tuple[str, str, RawRow]]:
    """The results in a column of JSON-MIN, which keeps their values and not their types."""
    if not isinstance(cell, list) or not all(isinstance(item, dict) for item in cell):
        return
    for item in cell:
        control = next((control for control, field in _CONTROLS.items() if field in item), None)
        if control:
            yield control, name, item
        elif "createdAt" in item and "role" in item:
            yield "chatmessage", name, {"chatmessage": item}


def _annotator(annotation: RawRow) -> str | None:
    by = annotation.get("completed_by")
    number = by.get("id") if isinstance(by, dict) else by
    return f"annotator {number}" if isinstance(number, int) else None


def _value(mark: RawRow) -> RawRow:
    value = mark.get("value")
    return value if isinstance(value, dict) else {}


def _vote(annotation: _Annotation) -> int:
    """1 or 2 for a side, 0 for none of both.

    Raises:
        Misfit: if the comparison was made by another control than one Pairwise.
    """
    marks = annotation.by("pairwise")
    if not marks:
        raise Misfit("annotations", _by_others(annotation, "Pairwise"))
    selected = marks[-1].get("selected")
    if selected is not None and (not isinstance(selected, str) or selected not in _SIDES):
        raise Misfit("annotations", "has a pairwise selection that is neither left nor right")
    return _SIDES.get(selected, 0)


def _ranking(annotation: _Annotation, ids: list[str]) -> Ranking | None:
    """The rank of each item, by the order in which an annotator put all of them."""
    marks = annotation.by("ranker")
    if not marks:
        raise Misfit("annotations", _by_others(annotation, "Ranker"))
    order = marks[-1].get("ranker")
    if not isinstance(order, dict) or len(order) != 1:
        raise Misfit("annotations", "sorts items into buckets, of which nobody said which is better; rank them")
    (ranked,) = order.values()
    if not isinstance(ranked, list) or sorted(map(str, ranked)) != sorted(ids):
        raise Misfit("annotations", "does not rank each item of the list once")
    return annotation.annotator, [[str(item) for item in ranked].index(item) for item in ids]


def _by_others(annotation: _Annotation, control: str) -> str:
    others = ", ".join(sorted({kind for kind, *_ in annotation.results}))
    return f"has a result by {others} and none by {control}, the one control that is read"


def _is_messages(cell: Any) -> bool:
    return isinstance(cell, list) and all(
        isinstance(item, dict) and item.get("role") in ROLES and isinstance(item.get("content"), str) for item in cell
    )


def _loaded(cell: Any) -> Any:
    """A cell as it was before CSV wrote it as JSON text."""
    if isinstance(cell, str) and cell.startswith("[{"):
        try:
            return DECODER.decode(cell)
        except (ValueError, RecursionError):
            pass
    return cell


def _listed(row: RawRow, field: str) -> list[RawRow]:
    """The objects in a field, none where it is null or missing."""
    return [] if row.get(field) is None else objects_of(row, field)
