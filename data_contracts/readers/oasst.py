"""OpenAssistant (Köpf et al., 2023): trees of messages whose sibling replies people ranked, 0 the best."""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from data_contracts.readers.rows import Skip

Message = dict[str, Any]
NAMES = {"prompter": "Human", "assistant": "Assistant"}


def demonstrations(row: dict[str, Any]) -> list[dict[str, Any]]:
    """The best-ranked human answer to every question of a tree, with the conversation before it."""
    made = [
        {"prompt": prompt, "response": ranked[0]["text"].strip(), "group": row["message_tree_id"]}
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
        {"prompt": prompt, "chosen": first["text"].strip(), "rejected": second["text"].strip(), **votes}
        for prompt, ranked in _questions(row)
        for first, second in combinations(ranked, 2)
    ]
    if not made:
        raise Skip("no question with two ranked human answers")
    return [{**record, "group": row["message_tree_id"]} for record in made]


def _questions(row: dict[str, Any]) -> Iterator[tuple[str, list[Message]]]:
    """Every question of a tree with its ranked human answers, best first."""
    pending: list[tuple[str, Message]] = [("", row["prompt"])]
    while pending:
        before, message = pending.pop()
        text = f"{NAMES[message['role']]}: {message['text'].strip()}"
        conversation = f"{before}\n\n{text}" if before else text
        pending += [(conversation, reply) for reply in message["replies"]]
        ranked = [reply for reply in message["replies"] if reply.get("rank") is not None and not reply.get("synthetic")]
        ranked = [reply for reply in ranked if reply["text"].strip()]
        if message["role"] == "prompter" and ranked:
            yield conversation.removeprefix("Human: "), sorted(ranked, key=lambda reply: int(reply["rank"]))
