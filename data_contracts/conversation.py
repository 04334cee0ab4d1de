"""Prompts of several turns: the list of messages, written as JSON where a prompt of one turn is plain text."""

import json
from collections.abc import Sequence
from typing import TypedDict, TypeGuard

ROLES = ("system", "user", "assistant")


class Message(TypedDict):
    """One turn of a conversation."""

    role: str
    content: str


def is_conversation(prompt: object) -> TypeGuard[list[Message]]:
    """Whether something is a list of messages; what else a format makes of a prompt is for the contract to refuse."""
    return isinstance(prompt, list) and all(
        isinstance(turn, dict) and isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str)
        for turn in prompt
    )


def write_conversation(messages: Sequence[Message]) -> str:
    """A prompt as its column holds it: plain text for a single user turn, else a JSON list of messages."""
    turns = [Message(role=turn["role"], content=turn["content"].strip()) for turn in messages]
    if len(turns) == 1 and turns[0]["role"] == "user":
        return turns[0]["content"]
    return json.dumps(turns, ensure_ascii=False)


def read_conversation(prompt: str) -> list[Message]:
    """The turns of a prompt; the inverse of `write_conversation`."""
    if prompt.startswith('[{"role": '):
        try:
            turns = [Message(role=turn["role"], content=turn["content"]) for turn in json.loads(prompt)]
        except (ValueError, KeyError, TypeError, RecursionError):
            turns = []
        if is_conversation(turns) and turns:
            return turns
    return [Message(role="user", content=prompt)]


def typed_prompt(prompt: str) -> str:
    """A prompt as its column holds it of one that a person typed, JSON of messages in any spacing."""
    try:
        typed = json.loads(prompt) if prompt.lstrip().startswith("[") else None
    except (ValueError, RecursionError):
        return prompt
    return write_conversation(typed) if is_conversation(typed) and typed else prompt


def in_words(prompt: str) -> str:
    """A prompt for people to read: itself, or the speaker and the words of each of its turns, line by line."""
    turns = read_conversation(prompt)
    if [turn["role"] for turn in turns] == ["user"]:
        return turns[0]["content"]
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)


def opening(messages: Sequence[Message]) -> str:
    """The first user turn, by which conversations that begin alike stay in one split."""
    return next((turn["content"].strip() for turn in messages if turn["role"] == "user"), "")


def roles_alternate(prompt: str) -> bool:
    """Whether user and assistant take turns, the user first and last, after at most one system message."""
    roles = [turn["role"] for turn in read_conversation(prompt)]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    return len(turns) % 2 == 1 and turns == [("user", "assistant")[index % 2] for index in range(len(turns))]
