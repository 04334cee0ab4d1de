"""Argilla's records, as its versions 1 and 2 write them to JSON and to the hub: people's answers about responses."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from data_contracts.formats.fields import number_in, turns_of
from data_contracts.formats.items import Item, LeftOut, Misfit, RawRow, Record
from data_contracts.formats.rankings import Ranking, by_rankings
from data_contracts.formats.registry import adapter

_RESPONSE = re.compile(r"(?:response|answer|output|completion|generation|text)[-_ ]?(\d+|[a-d])", re.IGNORECASE)
_PROMPTS = ("prompt", "instruction", "question", "input", "query", "conversation", "chat", "messages")
_TIES = ("tie", "tied", "draw", "equal", "same", "both")

_MAP = "; keep one question, or write a format of your own"


class _Answer(NamedTuple):
    """What one person answered to one question."""

    user: str | None
    status: str
    value: Any


class _Annotated(NamedTuple):
    """The fields of a record, and the answers to each question."""

    fields: RawRow
    answers: dict[str, list[_Answer]]


def _is_nested(row: RawRow) -> bool:
    return isinstance(row.get("fields"), dict) and isinstance(row.get("responses"), list | dict)


def _questions(row: RawRow) -> list[str]:
    """The questions of a record of which every answer is a column, as on the hub."""
    second = [name.removesuffix(".responses") for name in row if f"{name}.users" in row]
    first = [name for name in row if f"{name}-suggestion" in row and isinstance(row[name], list | None)]
    return second or first


def _is_record(row: RawRow) -> bool:
    return _is_nested(row) or bool(_questions(row))


@adapter("argilla", "preferences", fits=_is_record, precedence=20)
def preferences(row: RawRow) -> Iterator[Item]:
    """Each answer that was submitted is a vote on every pair of responses; suggestions are a model's and are none.

    The fields hold one prompt, and responses called response_1 and response_2 (or answer, output, completion,
    generation, text, with letters or numbers). The question that compares them ranks them, names one or a tie, or there
    is one rating for each, called by the same number.
    """
    record = _annotated(row)
    names = _responses(record.fields)
    prompt = _prompt(record.fields)
    for answer in _by_person(record):
        if answer.status in ("discarded", "draft"):
            yield LeftOut(f"response that is {answer.status}")
    rankings = _rankings(record, names)
    yield from by_rankings(prompt, [record.fields[name] for name in names.values()], rankings)


@adapter("argilla", "prompts", fits=_is_record, precedence=20)
def prompts(row: RawRow) -> Iterator[Record]:
    """The prompt of a record."""
    yield {"prompt": _prompt(_annotated(row).fields)}


def _annotated(row: RawRow) -> _Annotated:
    if _is_nested(row):
        responses = row["responses"]
        by_user = _by_user(responses) if isinstance(responses, list) else _by_question(responses)
        return _Annotated(row["fields"], by_user)
    questions = _questions(row)
    fields = {name: cell for name, cell in row.items() if cell is not None and name not in questions}
    if all(f"{name}.responses" in row for name in questions):
        return _Annotated(fields, {name: _columns(row, f"{name}.responses") for name in questions})
    return _Annotated(fields, _by_question({name: row[name] for name in questions}))


def _by_user(responses: list[Any]) -> dict[str, list[_Answer]]:
    """Answers of version 1, in which each person's lie together."""
    answers: dict[str, list[_Answer]] = {}
    for response in _objects(responses):
        values = response.get("values")
        for question, given in (values if isinstance(values, dict) else {"": {"value": None}}).items():
            value = given.get("value") if isinstance(given, dict) else given
            answers.setdefault(question, []).append(_answer(response, value))
    return answers


def _by_question(responses: RawRow) -> dict[str, list[_Answer]]:
    return {
        question: [_answer(item, item.get("value")) for item in _objects(items or [])]
        for question, items in responses.items()
    }


def _columns(row: RawRow, field: str) -> list[_Answer]:
    """Answers of version 2 on the hub: values, users and statuses in lists of one length."""
    values = row.get(field) or []
    users = row.get(f"{field}.users") or [None] * len(values)
    statuses = row.get(f"{field}.status") or [None] * len(values)
    if not all(isinstance(cells, list) and len(cells) == len(values) for cells in (values, users, statuses)):
        raise Misfit(field, "has not as many values as users and statuses")
    return [
        _answer({"user_id": user, "status": status}, value)
        for value, user, status in zip(values, users, statuses, strict=True)
    ]


def _answer(response: RawRow, value: Any) -> _Answer:
    user = response.get("user_id")
    return _Answer(None if user is None else f"annotator {user}", str(response.get("status") or "submitted"), value)


def _objects(items: Any) -> list[RawRow]:
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise Misfit("responses", "is not a list of objects")
    return items


def _by_person(record: _Annotated) -> list[_Answer]:
    """One answer of each person, whatever the question, by which their status is known."""
    answers = (item for given in record.answers.values() for item in enumerate(given))
    return list({answer.user or index: answer for index, answer in answers}.values())


def _responses(fields: RawRow) -> dict[str, str]:
    """The fields that hold responses, by the number or letter at their end."""
    names = {match[1].lower(): name for name in fields if (match := _RESPONSE.fullmatch(name))}
    if len(names) < 2:
        raise Misfit("fields", "has no two responses, called such as response_1 and response_2")
    return dict(sorted(names.items()))


def _prompt(fields: RawRow) -> Any:
    names = [name for name in _PROMPTS if fields.get(name) is not None]
    if len(names) != 1:
        problem = f"has the fields {', '.join(names)}, any of which could be" if names else "has no field that could be"
        raise Misfit("fields", f"{problem} the prompt; keep one of {', '.join(_PROMPTS)}")
    return turns_of(fields, names[0])


def _rankings(record: _Annotated, names: dict[str, str]) -> list[Ranking]:
    """How each person whose answer was submitted ranks the responses.

    Raises:
        Misfit: if no question that was answered compares them, or several do.
    """
    submitted = {
        question: [answer for answer in answers if answer.status == "submitted" and answer.value is not None]
        for question, answers in record.answers.items()
    }
    compared = {
        question: ranked
        for question, answers in submitted.items()
        if (ranked := [(item.user, ranks) for item in answers if (ranks := _ranks(item.value, names)) is not None])
    }
    for question, ranked in compared.items():
        if len(ranked) < len(submitted[question]):
            raise Misfit("responses", f"has an answer to {question} that names no response and no tie")
    by_any: dict[str, list[Ranking]] = {question: list(ranked) for question, ranked in compared.items()}
    if rated := _rated(submitted, names):
        by_any["ratings"] = rated
    if len(by_any) > 1:
        raise Misfit("responses", f"compares the responses by {', '.join(sorted(by_any))}{_MAP}")
    if not by_any and any(submitted.values()):
        raise Misfit("responses", f"has no answer that ranks, rates or names {', '.join(names.values())}")
    return next(iter(by_any.values()), [])


def _ranks(value: Any, names: dict[str, str]) -> list[float] | None:
    """The ranks of the responses by an answer that names one, a tie, or all in order; None by any other."""
    if isinstance(value, dict | list):
        return _in_order(value, names)
    if not isinstance(value, str):
        return None
    plain = _plain(value)
    if plain in _TIES:
        return [1.0] * len(names)
    ranks = [1.0 if plain in (suffix, _plain(name)) else 2.0 for suffix, name in names.items()]
    if 1.0 in ranks and len(ranks) > 2:
        raise Misfit(
            "responses", f"names the best of {len(ranks)} responses, which says nothing of the others; rank them"
        )
    return ranks if 1.0 in ranks else None


def _in_order(value: Any, names: dict[str, str]) -> list[float] | None:
    """The ranks of the responses by a list of their names, the best first, or of objects with their ranks."""
    if isinstance(value, dict):  # as the library `datasets` turns a list of objects
        columns = {"value": value.get("value") or value.get("text") or [], "rank": value.get("rank") or []}
        value = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=False)]
    items = [item if isinstance(item, dict) else {"value": item} for item in value]
    order = {
        _plain(item.get("value", item.get("text"))): number_in(item.get("rank", rank))
        for rank, item in enumerate(items, start=1)
    }
    ranks = [order.get(_plain(name), order.get(suffix)) for suffix, name in names.items()]
    if all(rank is None for rank in ranks):
        return None
    numbers = [float(rank) for rank in ranks if isinstance(rank, int | float)]
    if len(numbers) < len(ranks):
        raise Misfit("responses", f"does not rank each of {', '.join(names.values())}")
    return numbers


def _rated(submitted: dict[str, list[_Answer]], names: dict[str, str]) -> list[Ranking]:
    """Ranks by ratings, one question for each response, of those who rated all of them."""
    ratings: dict[str, dict[str | None, float]] = {}
    for suffix in names:
        answers = [
            (answer.user, answer.value)
            for question, given in submitted.items()
            if _suffix(question) == suffix
            for answer in given
            if isinstance(answer.value, int | float)
        ]
        ratings[suffix] = dict(answers)
        if len(ratings[suffix]) < len(answers):
            raise Misfit("responses", f"has two ratings of {names[suffix]} by one person{_MAP}")
    users = [user for user in ratings[next(iter(names))] if all(user in by_user for by_user in ratings.values())]
    return [(user, [-ratings[suffix][user] for suffix in names]) for user in users]


def _suffix(question: str) -> str:
    return re.split("[-_ ]", question)[-1].lower()


def _plain(name: Any) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).lower())
