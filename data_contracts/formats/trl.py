"""TRL's dataset types as text or messages: prompt-only, prompt-completion, preference; and whole conversations."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from data_contracts.conversation import Message
from data_contracts.formats.fields import messages_of, number_in, number_of, turns_of
from data_contracts.formats.items import Item, Misfit, RawRow, Record, Tie, compare
from data_contracts.formats.registry import adapter, holds
from data_contracts.records import VOTES

_GRADES = {"score", "rating", "reward", "grade"}
_OVERALL = {"overall", "average", "avg", "mean", "total"}
_SIDES = {"chosen", "rejected"}
"""The words of which names of scores are made, in any order, as public data sets have them."""

_SIDE = re.compile("chosen|rejected")

_TRANSCRIPT = re.compile(r"\W*(?:human|user):.*assistant:\s*", re.IGNORECASE | re.DOTALL)
"""A text in which names tell who speaks, up to where the assistant does."""

_FLATTENED = (
    "is a transcript whose speakers would all become one user; write messages, or begin each turn on a line of its own "
    "with Human: or Assistant:"
)


@adapter("trl", "prompts", fits=holds("prompt"), precedence=0)
def prompts(row: RawRow) -> Iterator[Record]:
    """The prompt of any type that has one."""
    yield {"prompt": _prompt_of(row)}


def _is_demonstration(row: RawRow) -> bool:
    return holds("messages")(row) or holds("prompt", "completion")(row)


@adapter("trl", "demonstrations", fits=_is_demonstration, precedence=0)
def demonstrations(row: RawRow) -> Iterator[Record]:
    """A prompt with its completion, or the last answer of `messages`, a whole conversation."""
    if row.get("completion") is None and row.get("messages") is not None:
        yield _answer("messages", messages_of(row, "messages"))
        return
    prompt, completion = _prompt_of(row), turns_of(row, "completion")
    if isinstance(completion, list):
        yield _answer("completion", [*_as_messages(prompt), *completion])
    else:
        yield {"prompt": prompt, "response": completion}


@adapter("trl", "preferences", fits=holds("chosen", "rejected"), precedence=0)
def preferences(row: RawRow) -> Iterator[Item]:
    """Two completions of one prompt, which may be what both begin with (implicit prompt).

    `margin`, or else the gap of `score_chosen` and `score_rejected`, says by how much the chosen one is better. Equal
    votes, or equal scores without votes or a margin, are a tie. Conversations that begin with a user hold the prompt,
    and a text beside them repeats it, as in UltraFeedback.
    """
    yield _labelled(pair(row), row)


def pair(row: RawRow) -> Record:
    """The prompt and the two completions of a row.

    Raises:
        Misfit: if they are something else.
    """
    chosen, rejected = turns_of(row, "chosen"), turns_of(row, "rejected")
    prompt = None if row.get("prompt") is None else _prompt_of(row)
    if isinstance(chosen, list) or isinstance(rejected, list):
        if not isinstance(prompt, str | list | None):
            raise Misfit("prompt", "is neither text nor a list of messages")
        both = messages_of(row, "chosen"), messages_of(row, "rejected")
        repeated = all(turns[0]["role"] != "assistant" for turns in both) and (
            isinstance(prompt, str) or all(turns[: len(prompt or ())] == prompt for turns in both)
        )
        before = [] if prompt is None or repeated else _as_messages(prompt)
        return compare(before + both[0], before + both[1])
    if prompt is None:
        return _divide(chosen, rejected)
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def _prompt_of(row: RawRow) -> Any:
    prompt = turns_of(row, "prompt")
    if isinstance(prompt, str) and _TRANSCRIPT.fullmatch(prompt):
        raise Misfit("prompt", _FLATTENED)
    return prompt


def _labelled(texts: Record, row: RawRow) -> Item:
    """A pair with its votes and its grade, or the tie that these say it is."""
    votes = {name: cell for name in VOTES if (cell := number_in(row.get(name))) is not None}
    margin, gap = number_of(row, "margin"), _gap(row)
    grade = gap if margin is None else margin
    record = texts | votes | ({} if grade is None else {"grade": grade})
    if votes:
        chosen, rejected = votes.get("votes_chosen", 1), votes.get("votes_rejected", 0)
        return Tie(record) if chosen == rejected and any(votes.values()) else record
    if gap == 0 and not margin:
        return Tie({**record, "votes_chosen": 0, "votes_tied": 1})
    return record


def _gap(row: RawRow) -> float | None:
    """By how much the score of the chosen response is higher, None where there are no scores.

    Raises:
        Misfit: if it is lower, or one of both scores is missing or no number.
    """
    pairs = _score_fields(tuple(row))
    names = next((pair for pair in pairs if any(number_of(row, name) is not None for name in pair)), None)
    if names is None:
        return None
    chosen, rejected = (number_of(row, name) for name in names)
    if chosen is None or rejected is None:
        raise Misfit(names[chosen is not None], "is missing, and the other response has a score")
    if chosen < rejected:
        raise Misfit(names[1], f"is above {names[0]}", rule="scores_favour_chosen")
    return chosen - rejected


@lru_cache
def _score_fields(fields: tuple[str, ...]) -> list[tuple[str, str]]:
    """The names of the scores of both responses that some fields speak of, the shortest first."""
    names = sorted((name for name in fields if _is_score(name)), key=lambda name: (len(name), name))
    return list(dict.fromkeys((_SIDE.sub("chosen", name), _SIDE.sub("rejected", name)) for name in names))


def _is_score(field: str) -> bool:
    words = set(re.split("[_-]", field))
    return len(words & _SIDES) == len(words & _GRADES) == 1 and words <= _SIDES | _GRADES | _OVERALL


def _answer(field: str, conversation: list[Message]) -> Record:
    *context, answer = conversation
    if not context or answer["role"] != "assistant":
        raise Misfit(field, "does not end with an answer")
    return {"prompt": context, "response": answer["content"]}


def _as_messages(prompt: Any) -> list[Message]:
    if isinstance(prompt, str):
        return [Message(role="user", content=prompt)]
    if not isinstance(prompt, list):
        raise Misfit("prompt", "is neither text nor a list of messages")
    return list(prompt)


def _divide(chosen: Any, rejected: Any) -> Record:
    """Cut two texts where they begin to differ, at the word boundary before it."""
    for field, text in (("chosen", chosen), ("rejected", rejected)):
        if not isinstance(text, str):
            raise Misfit(field, "is not text, so that the prompt that both begin with cannot be found")
    same = zip(chosen, rejected, strict=False)
    shared = chosen[: next((index for index, (a, b) in enumerate(same) if a != b), min(len(chosen), len(rejected)))]
    if _TRANSCRIPT.match(shared):
        raise Misfit("chosen", _FLATTENED)
    cut = max(shared.rfind(" "), shared.rfind("\n")) + 1
    if not shared[:cut].strip():
        raise Misfit("rejected", "shares no beginning with chosen", rule="prompt_is_shared")
    return {"prompt": chosen[:cut], "chosen": chosen[cut:], "rejected": rejected[cut:]}
