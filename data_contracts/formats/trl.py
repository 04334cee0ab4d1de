"""TRL's dataset types as text or messages: prompt-only, prompt-completion, preference; and whole conversations."""

from collections.abc import Iterator
from typing import Any

from data_contracts.conversation import Message
from data_contracts.formats.fields import messages_of, number_in, number_of, turns_of
from data_contracts.formats.items import Item, Misfit, RawRow, Record, Tie, compare
from data_contracts.formats.registry import adapter, holds
from data_contracts.schemas.preferences import VOTES

SCORES = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("rating_chosen", "rating_rejected"),
    ("chosen_rating", "rejected_rating"),
    ("chosen-rating", "rejected-rating"),
)
"""Names of the grades of both responses, as public data sets have them."""


@adapter("trl", "prompts", fits=holds("prompt"), precedence=0)
def prompts(row: RawRow) -> Iterator[Record]:
    """The prompt of any type that has one."""
    yield {"prompt": turns_of(row, "prompt")}


def _is_demonstration(row: RawRow) -> bool:
    return holds("messages")(row) or holds("prompt", "completion")(row)


@adapter("trl", "demonstrations", fits=_is_demonstration, precedence=0)
def demonstrations(row: RawRow) -> Iterator[Record]:
    """A prompt with its completion, or the last answer of `messages`, a whole conversation."""
    if row.get("completion") is None and row.get("messages") is not None:
        yield _answer("messages", messages_of(row, "messages"))
        return
    prompt, completion = turns_of(row, "prompt"), turns_of(row, "completion")
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
    prompt = None if row.get("prompt") is None else turns_of(row, "prompt")
    if isinstance(chosen, list) or isinstance(rejected, list):
        both = messages_of(row, "chosen"), messages_of(row, "rejected")
        repeated = all(turns[0]["role"] != "assistant" for turns in both) and (
            isinstance(prompt, str) or all(turns[: len(prompt or ())] == prompt for turns in both)
        )
        before = [] if prompt is None or repeated else _as_messages(prompt)
        return compare(before + both[0], before + both[1])
    if prompt is None:
        return _divide(chosen, rejected)
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def _labelled(texts: Record, row: RawRow) -> Item:
    """A pair with its votes and its grade, or the tie that these say it is."""
    votes = {name: cell for name in VOTES if (cell := number_in(row.get(name))) is not None}
    margin, gap = number_in(row.get("margin")), _gap(row)
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
    names = next((pair for pair in SCORES if any(number_of(row, name) is not None for name in pair)), None)
    if names is None:
        return None
    chosen, rejected = (number_of(row, name) for name in names)
    if chosen is None or rejected is None:
        raise Misfit(names[chosen is not None], "is missing, and the other response has a score")
    if chosen < rejected:
        raise Misfit(names[1], f"is above {names[0]}", rule="scores_favour_chosen")
    return chosen - rejected


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
    cut = max(shared.rfind(" "), shared.rfind("\n")) + 1
    if not shared[:cut].strip():
        raise Misfit("rejected", "shares no beginning with chosen", rule="prompt_is_shared")
    return {"prompt": chosen[:cut], "chosen": chosen[cut:], "rejected": rejected[cut:]}
