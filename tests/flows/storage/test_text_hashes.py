"""Hashes of texts that count as the same."""

import json

from data_contracts.conversation import Message, write_conversation
from flows.storage.text_hashes import loose_hashes


def asked(text: str) -> str:
    turns = [("user", text), ("assistant", "Yes."), ("user", "why")]
    return write_conversation([Message(role=role, content=content) for role, content in turns])


def test_turns_of_a_conversation_are_the_same_whatever_their_line_breaks() -> None:
    same = [asked(text) for text in ("caf\u00e9\n\ttwo", "Caf\u00e9 two", "cafe\u0301\r\n two")]
    same.append(json.dumps(json.loads(same[1])))  # as RewardBench's prompts are written, in ASCII
    assert len(set(loose_hashes(same))) == 1
    others = [asked("one two"), asked("onetwo"), asked("one n two"), "user one two assistant yes. user why"]
    assert len(set(loose_hashes(others))) == 4
