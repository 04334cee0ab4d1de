"""OpenAssistant (Köpf et al., 2023): trees of messages whose sibling replies people ranked, 0 the best."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any, NamedTuple

from data_contracts.conversation import Message
from data_contracts.formats.fields import cell_of, objects_of, text_of, whole_number_of
from data_contracts.formats.items import Item, LeftOut, Misfit, RawRow, Record, Tie
from data_contracts.formats.registry import adapter, holds

ROLES = {"prompter": "user", "assistant": "assistant"}
_is_tree = holds("message_tree_id", "prompt")


class _Question(NamedTuple):
    """A conversation that ends with a user's turn, and its ranked human replies, best first."""

    prompt: list[Message]
    replies: list[RawRow]


@adapter("oasst", "demonstrations", fits=_is_tree, precedence=20)
def demonstrations(row: RawRow) -> Iterator[Record | LeftOut]:
    """The best-ranked human answer to every question of a tree, with the conversation before it."""
    group = text_of(row, "message_tree_id")
    for item in _walk(row):
        if isinstance(item, LeftOut):
            yield item
        elif _rank(item.replies[0]) == 0:
            yield {"prompt": item.prompt, "response": _said(item.replies[0]), "group": group}


@adapter("oasst", "preferences", fits=_is_tree, precedence=20)
def preferences(row: RawRow) -> Iterator[Item]:
    """Every pair of human answers to one question, the better-ranked one chosen; equal ranks are a tie."""
    group = text_of(row, "message_tree_id")
    for item in _walk(row):
        if isinstance(item, LeftOut):
            yield item
            continue
        for better, worse in combinations(item.replies, 2):
            pair = {"prompt": item.prompt, "chosen": _said(better), "rejected": _said(worse), "group": group}
            yield Tie({**pair, "votes_chosen": 0, "votes_tied": 1}) if _rank(better) == _rank(worse) else pair


@adapter("oasst", "prompts", fits=_is_tree, precedence=20)
def prompts(row: RawRow) -> Iterator[Record | LeftOut]:
    """The question that opens a tree, if a person asked it."""
    opening = _opening(row)
    if opening.get("synthetic"):
        yield LeftOut("synthetic message")
    else:
        yield {"prompt": [_turn(opening)], "group": text_of(row, "message_tree_id")}


def _walk(row: RawRow) -> Iterator[_Question | LeftOut]:
    """Every question of a tree that has ranked human replies, and every message that is left out."""
    pending: list[tuple[list[Message], RawRow, bool]] = [([], _opening(row), True)]
    while pending:
        before, message, by_people = pending.pop()
        by_people = by_people and not message.get("synthetic")
        if message.get("synthetic"):
            yield LeftOut("synthetic message")
        conversation = [*before, _turn(message)]
        replies = [] if message.get("replies") is None else objects_of(message, "replies")
        pending += [(conversation, reply, by_people) for reply in replies]
        if message["role"] == "assistant":
            if _rank(message) is None and not message.get("synthetic"):
                yield LeftOut("reply without a rank")
            continue
        ranked = [reply for reply in replies if _rank(reply) is not None and not reply.get("synthetic")]
        if by_people and ranked:
            yield _Question(conversation, sorted(ranked, key=_order))


def _opening(row: RawRow) -> RawRow:
    opening = cell_of(row, "prompt")
    if not isinstance(opening, dict):
        raise Misfit("prompt", "is not a message")
    return opening


def _turn(message: RawRow) -> Message:
    role = cell_of(message, "role")
    if not isinstance(role, str) or role not in ROLES:
        raise Misfit("role", f"is not one of {', '.join(ROLES)}")
    return Message(role=ROLES[role], content=_said(message))


def _said(message: RawRow) -> Any:
    text = text_of(message, "text")
    if not isinstance(text, str):
        raise Misfit("text", "is not text")
    return text


def _rank(reply: RawRow) -> int | None:
    return whole_number_of(reply, "rank")


def _order(reply: RawRow) -> int:
    return whole_number_of(reply, "rank") or 0
