"""OpenAssistant (Köpf et al., 2023): trees of messages whose sibling replies people ranked, 0 the best."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from data_contracts.readers.rows import Skip, WrongField, objects_of, text_of

Message = dict[str, Any]
NAMES = {"prompter": "Human", "assistant": "Assistant"}


def demonstrations(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The best-ranked human answer to every question of a tree, with the conversation before it."""
    made = [
        {"prompt": prompt, "response": text_of(ranked[0], "text").strip(), "group": text_of(row, "message_tree_id")}
        for prompt, ranked in _questions(row)
        if ranked[0]["rank"] == 0
    ]
    if not made:
        raise Skip("no ranked human answer")
    return made


def preferences(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Every pair of human answers to one question, the better-ranked one chosen."""
    votes = {"votes_chosen": 1, "votes_rejected": 0}
    made = [
        {
            "prompt": prompt,
            "chosen": text_of(first, "text").strip(),
            "rejected": text_of(second, "text").strip(),
            **votes,
        }
        for prompt, ranked in _questions(row)
        for first, second in combinations(ranked, 2)
    ]
    if not made:
        raise Skip("no question with two ranked human answers")
    return [{**record, "group": text_of(row, "message_tree_id")} for record in made]


def _questions(row: Message) -> Iterator[tuple[str, list[Message]]]:
    """Every question of a tree with its ranked human answers, best first."""
    opening = row.get("prompt")
    if not isinstance(opening, dict):
        raise WrongField("prompt", "a message")
    pending: list[tuple[str, Message]] = [("", opening)]
    while pending:
        before, message = pending.pop()
        said = f"{_name(message)}: {text_of(message, 'text').strip()}"
        conversation = f"{before}\n\n{said}" if before else said
        replies = objects_of(message, "replies")
        pending += [(conversation, reply) for reply in replies]
        ranked = [reply for reply in replies if _rank(reply) is not None and not reply.get("synthetic")]
        ranked = [reply for reply in ranked if text_of(reply, "text").strip()]
        if message["role"] == "prompter" and ranked:
            yield conversation.removeprefix("Human: "), sorted(ranked, key=lambda reply: int(reply["rank"]))


def _name(message: Message) -> str:
    role = text_of(message, "role")
    if role not in NAMES:
        raise WrongField("role", f"one of {', '.join(NAMES)}")
    return NAMES[role]


def _rank(reply: Message) -> int | None:
    rank = reply.get("rank")
    if rank is not None and not isinstance(rank, int):
        raise WrongField("rank", "a whole number")
    return rank
