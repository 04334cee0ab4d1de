"""Rows whose columns a configuration maps: what they give, read by the functions of the known formats."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import combinations
from typing import Any, NamedTuple

from data_contracts.conversation import Message
from data_contracts.formats import hh_rlhf, trl
from data_contracts.formats.fields import messages_of, number_of, text_of
from data_contracts.formats.items import Convert, Item, LeftOut, Misfit, RawRow, Record, Tie, compare, judged
from data_contracts.formats.json_text import DECODER, RepeatedKey
from data_contracts.formats.registry import FORMATS
from data_contracts.records import Kind
from data_contracts.sameness import name_form
from flows.config.columns import ColumnFormat, Columns
from flows.data.mapping.labels import opinions_of

_is_transcript = FORMATS["hh-rlhf"]["prompts"].fits


class ResponseCell(NamedTuple):
    """A cell to compare, with its column."""

    column: str
    cell: Any


def mapped(mapping: ColumnFormat, kind: Kind) -> Convert:
    """The function from a raw row to what its mapped columns give of a kind; pairs have their `annotator`, if any."""
    makers: dict[Kind, Callable[[ColumnFormat, RawRow], Iterable[Item]]] = {
        "preferences": _preferences,
        "demonstrations": _demonstrations,
        "prompts": _prompts,
    }
    convert, names = makers[kind], {name for names in mapping.columns.by_use.values() for name in names}
    return lambda row: convert(mapping, {name: cell_at(row, name) for name in names})


def cell_at(row: RawRow, name: str) -> Any:
    """What stands in a column; a name that no column has is a path into nested cells, its steps parted by points.

    A step into a list is a place, from 0, or a field of its objects, which gives the list of what stands there.
    """
    if name in row:
        return row[name]
    cell: Any = row
    for step in name.split("."):
        match cell:
            case dict():
                cell = cell.get(step)
            case list() if step.isdecimal() and int(step) < len(cell):
                cell = cell[int(step)]
            case list() if any(isinstance(item, dict) and step in item for item in cell):
                cell = [item.get(step) if isinstance(item, dict) else None for item in cell]
            case _:
                return None
    return cell


def has_column(row: RawRow, name: str) -> bool:
    """Whether a row has a column, be it null, or a path that leads to something."""
    return name in row or cell_at(row, name) is not None


def _prompts(mapping: ColumnFormat, row: RawRow) -> Iterator[Record]:
    columns = mapping.columns
    if columns.prompt:
        yield {"prompt": _with_system(columns, row, _prompt(columns, row))}
    elif columns.messages:
        yield {"prompt": _demonstration(columns, row)["prompt"]}
    else:
        first, second, *_ = _responses(columns, row)
        yield {"prompt": _pair(columns, row, first, second)["prompt"]}


def _demonstrations(mapping: ColumnFormat, row: RawRow) -> Iterator[Record]:
    yield _demonstration(mapping.columns, row)


def _demonstration(columns: Columns, row: RawRow) -> Record:
    column = columns.messages or columns.response or ""
    field = "messages" if columns.messages else "completion"
    cells = {field: row[column]} | ({"prompt": _prompt(columns, row)} if columns.prompt else {})
    with _in_columns({field: column}):
        read = hh_rlhf.demonstrations if _is_transcript({"chosen": row[column]}) else trl.demonstrations
        (record,) = read({"chosen": row[column]} if read is hh_rlhf.demonstrations else cells)
    return {**record, "prompt": _with_system(columns, row, record["prompt"])}


def _preferences(mapping: ColumnFormat, row: RawRow) -> Iterator[Item]:
    annotator = _annotator(row.get(mapping.columns.annotator or ""))
    for item in _compared(mapping, row):
        if isinstance(item, Tie):
            yield Tie({**item.record, "annotator": annotator})
        else:
            yield {**item, "annotator": annotator} if isinstance(item, dict) else item


def _compared(mapping: ColumnFormat, row: RawRow) -> Iterator[Item]:
    columns = mapping.columns
    if columns.scores or columns.ranks:
        yield from _ordered(columns, row)
        return
    if columns.chosen:
        pair = _pair(columns, row, *_responses(columns, row))
        yield {**pair, "grade": _grade(columns, row)}
        return
    opinions = opinions_of(mapping, row)
    votes = [(opinion.annotator, opinion.vote) for opinion in opinions]
    if all(vote is None for _, vote in votes):
        skipped = any(opinion.meaning is not None for opinion in opinions)
        yield LeftOut("a label that means skip" if skipped else "no vote")
        return
    responses = _responses(columns, row)
    if len(responses) != 2:
        raise Misfit(columns.responses[0], f"holds {len(responses)} responses, where the label compares two")
    pair = _pair(columns, row, *responses)
    grade = {"grade": _grade(columns, row)} if columns.grade else {}
    leads = [opinion.lead for opinion in opinions]
    for item in judged(pair["prompt"], pair["chosen"], pair["rejected"], votes, leads if any(leads) else ()):
        yield item | grade if isinstance(item, dict) else item


def _ordered(columns: Columns, row: RawRow) -> Iterator[Item]:
    """All pairs of the responses by their scores or ranks; one without a number was not judged."""
    names, sign = (columns.scores, 1) if columns.scores else (columns.ranks, -1)
    responses, numbers = _responses(columns, row), _numbers(names, row)
    if len(responses) != len(numbers):
        raise Misfit(names[0], f"holds {len(numbers)} numbers for {len(responses)} responses")
    judged_ones = [(text, sign * number) for text, number in zip(responses, numbers, strict=True) if number is not None]
    if len(judged_ones) < 2:
        yield LeftOut("no vote")
    for (first, high), (second, low) in combinations(judged_ones, 2):
        pair = _pair(columns, row, first, second) if high >= low else _pair(columns, row, second, first)
        if high == low:
            yield Tie({**pair, "votes_chosen": 0, "votes_tied": 1})
        else:
            yield {**pair, "grade": abs(high - low) if columns.scores else 0.0}


def _pair(columns: Columns, row: RawRow, chosen: ResponseCell, rejected: ResponseCell) -> Record:
    """Two responses with their prompt, which whole conversations hold themselves."""
    cells: RawRow = {"chosen": chosen.cell, "rejected": rejected.cell}
    if columns.prompt:
        cells["prompt"] = _prompt(columns, row)
    with _in_columns({"chosen": chosen.column, "rejected": rejected.column}):
        if columns.prompt:
            record = trl.pair(cells)
        elif _is_transcript(cells):
            (record,) = hh_rlhf.preferences(cells)
        else:
            record = compare(messages_of(cells, "chosen"), messages_of(cells, "rejected"))
    return {**record, "prompt": _with_system(columns, row, record["prompt"])}


def _responses(columns: Columns, row: RawRow) -> list[ResponseCell]:
    names = columns.responses or (columns.chosen or "", columns.rejected or "")
    if len(names) > 1:
        return [ResponseCell(name, row[name]) for name in names]
    return [ResponseCell(names[0], cell) for cell in _list_in(row, names[0])]


def _prompt(columns: Columns, row: RawRow) -> Any:
    """The prompt without its system message: text, or the list of its turns."""
    prompt = _read(row, columns.prompt[0]) if len(columns.prompt) == 1 else _turns(columns, row)
    if columns.input and (about := row[columns.input]) is not None and str(about).strip():
        if not isinstance(prompt, str):
            raise Misfit(columns.input, "would stand below a prompt of plain text, and this one is messages")
        prompt = f"{prompt.strip()}\n\n{_text(row, columns.input).strip()}"
    before = _history(columns.history, row) if columns.history else []
    return [*before, *_as_turns(prompt, columns.prompt[0])] if before else prompt


def _read(row: RawRow, column: str) -> Any:
    """A prompt as the known formats read it: text, messages, or a transcript of Human and Assistant."""
    cells = {"prompt": row[column]}
    with _in_columns({"prompt": column}):
        (record,) = hh_rlhf.prompts(cells) if _is_transcript(cells) else trl.prompts(cells)
    return record["prompt"]


def _turns(columns: Columns, row: RawRow) -> list[Message]:
    """The turns of a prompt whose columns take turns; a conversation may end before the last of them."""
    texts = [row[name] for name in columns.prompt]
    while texts and (texts[-1] is None or not str(texts[-1]).strip()):
        texts.pop()
    if not texts:
        raise Misfit(columns.prompt[0], "is missing")
    roles = ("user", "assistant")
    return [Message(role=roles[at % 2], content=_text(row, columns.prompt[at])) for at in range(len(texts))]


def _history(column: str, row: RawRow) -> list[Message]:
    cell = row[column]
    if cell is None or cell == [] or (isinstance(cell, str) and cell.strip() in ("", "[]")):
        return []
    return _as_turns(_read(row, column), column, plain=False)


def _as_turns(prompt: Any, column: str, *, plain: bool = True) -> list[Message]:
    if isinstance(prompt, list):
        return prompt
    if not plain or not isinstance(prompt, str):
        raise Misfit(column, "is no list of messages" if not plain else "is neither text nor messages")
    return [Message(role="user", content=prompt)]


def _text(row: RawRow, column: str) -> str:
    text = text_of(row, column)
    if not isinstance(text, str):
        raise Misfit(column, "is not text")
    return text


def _with_system(columns: Columns, row: RawRow, prompt: Any) -> Any:
    """A prompt below the system message of its row, if there is any."""
    if not columns.system or (said := row[columns.system]) is None or not str(said).strip():
        return prompt
    system = Message(role="system", content=_text(row, columns.system))
    turns = _as_turns(prompt, columns.system)
    if turns[0]["role"] != "system":
        return [system, *turns]
    if turns[0]["content"].strip() != str(said).strip():
        raise Misfit(columns.system, "is another system message than the one that the conversation begins with")
    return turns


def _grade(columns: Columns, row: RawRow) -> float:
    return (number_of(row, columns.grade) or 0.0) if columns.grade else 0.0


def _numbers(names: tuple[str, ...], row: RawRow) -> list[float | None]:
    """A number for each response; a tick is 1."""
    listed = len(names) == 1
    cells = [(names[0], cell) for cell in _list_in(row, names[0])] if listed else [(name, row[name]) for name in names]
    return [float(cell) if isinstance(cell, bool) else number_of({name: cell}, name) for name, cell in cells]


def _list_in(row: RawRow, column: str) -> list[Any]:
    cell = row[column]
    if isinstance(cell, str):
        try:
            cell = DECODER.decode(cell)
        except RepeatedKey as error:
            raise Misfit(column, str(error)) from None
        except (ValueError, RecursionError):
            raise Misfit(column, "is no list, and no JSON text of one; write lists to JSON Lines or Parquet") from None
    if not isinstance(cell, list) or len(cell) < 2:
        raise Misfit(column, "is not a list of at least two")
    return cell


def _annotator(cell: Any) -> str | None:
    """Who compared a pair, as reports may show it: an address is a person's, and only its hash is kept."""
    name = "" if cell is None else name_form(str(cell)).removesuffix(".0")
    return f"annotator {hashlib.sha256(name.encode()).hexdigest()[:8]}" if "@" in name else name or None


@contextmanager
def _in_columns(names: Mapping[str, str]) -> Iterator[None]:
    """Have misfits name the columns of the file instead of the fields of the format that reads them."""
    try:
        yield
    except Misfit as misfit:
        raise Misfit(names.get(misfit.field, misfit.field), misfit.reason, rule=misfit.rule) from None
