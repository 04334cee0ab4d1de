"""Prompts of several turns, as columns hold them and as people type them."""

import json

import pytest

from data_contracts.conversation import read_conversation, typed_prompt

TALK = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Why “so”?"}]


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" , ", " : ")])
def test_messages_are_typed_in_any_spacing(separators: tuple[str, str]) -> None:
    assert read_conversation(typed_prompt(json.dumps(TALK, separators=separators))) == TALK
    assert read_conversation(typed_prompt(f" {json.dumps(TALK, indent=1)}")) == TALK


@pytest.mark.parametrize("text", ["Why?", "[1] says so. Why?", "[1, 2]", "[]", '[{"role": "user"}]', "[" * 5000])
def test_other_texts_are_what_a_user_says(text: str) -> None:
    assert read_conversation(typed_prompt(text)) == [{"role": "user", "content": text}]
