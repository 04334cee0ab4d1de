"""A conversation as its chat template writes it: a program from elsewhere, whose time is limited, its errors told."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from transformers import PreTrainedTokenizerBase

from rlhf_core.data.chat_template import BREAKS
from rlhf_core.data.panics import PanickedError, given_up, no_panic
from rlhf_core.data.template_trial import CHARACTERS, SECONDS

Conversation = list[dict[str, str]]
"""Turns with `role` and `content`, the oldest first."""

_WHOLE: dict[str, Any] = {"tokenize": False, "add_generation_prompt": True}
"""How a conversation is written where nothing else is asked for."""

_OF_TEXT = ("add_generation_prompt", "chat_template")
"""What else is asked for decides how the text is divided into tokens."""


def render(tokenizer: PreTrainedTokenizerBase, conversation: Conversation, **how: Any) -> Any:
    """What the chat template makes of a conversation: text, unless it is told otherwise.

    Args:
        tokenizer: with a chat template that was tried already, though not on this conversation.
        conversation: its turns.
        how: to be written, as `apply_chat_template` takes it.

    Raises:
        ValueError: if the template refuses the conversation, computes for too long, or writes far more.
    """
    as_text = {key: value for key, value in how.items() if key in _OF_TEXT}
    with _in_words(tokenizer, conversation):
        text: Any = tokenizer.apply_chat_template(conversation, **_WHOLE | as_text)
    if len(text) > 4 * sum(len(turn["content"]) for turn in conversation) + CHARACTERS:
        raise _grown(tokenizer, conversation)
    if not how.get("tokenize"):
        return text
    with _in_words(tokenizer, conversation):
        return tokenizer.apply_chat_template(conversation, **_WHOLE | how)


@contextmanager
def _in_words(tokenizer: PreTrainedTokenizerBase, conversation: Conversation) -> Iterator[None]:
    """Limit the time of a block that asks the template, and tell its errors."""
    try:
        with _limited_time(SECONDS), no_panic():
            yield
    except _OverTime:
        raise ValueError(
            f"the chat template of {tokenizer.name_or_path} takes more than {SECONDS} s for the conversation that ends "
            f"{conversation[-1]['content'][-60:]!r}: correct its `chat_template`, or take another model"
        ) from None
    except MemoryError:
        raise _grown(tokenizer, conversation) from None
    except PanickedError as error:
        raise given_up(tokenizer.name_or_path, conversation[-1]["content"], error) from None
    except BREAKS as error:
        roles, reason = ", ".join(turn["role"] for turn in conversation), " ".join(str(error).split())
        raise ValueError(
            f"the chat template of {tokenizer.name_or_path} refuses a prompt whose turns are {roles} ({reason}): leave "
            "such prompts out of the data, or give the tokenizer another `chat_template`"
        ) from None
    except ValueError as error:
        text = conversation[-1]["content"]
        raise ValueError(
            f"the text {text[:60]!r} writes a special token of {tokenizer.name_or_path}, which can read it as nothing "
            f"else ({error}): leave such texts out"
        ) from None


def _grown(tokenizer: PreTrainedTokenizerBase, conversation: Conversation) -> ValueError:
    return ValueError(
        f"the chat template of {tokenizer.name_or_path} writes more than {CHARACTERS:,} characters beyond the "
        f"conversation that ends {conversation[-1]['content'][-60:]!r}: correct its `chat_template`, or take another "
        "model"
    )


class _OverTime(RuntimeError):
    """Code took more processor time than it may."""


@contextmanager
def _limited_time(seconds: float) -> Iterator[None]:
    """End the Python code of a block when it has taken so much processor time; only the main thread has a limit."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGVTALRM, _end)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def _end(number: int, frame: FrameType | None) -> None:
    raise _OverTime
