"""A conversation as its chat template writes it: a program from elsewhere, whose time is limited, its errors told."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from transformers import PreTrainedTokenizerBase

from rlhf_core.data.chat_template import BREAKS
from rlhf_core.data.template_trial import SECONDS

Conversation = list[dict[str, str]]
"""Turns with `role` and `content`, the oldest first."""


def render(tokenizer: PreTrainedTokenizerBase, conversation: Conversation, **how: Any) -> Any:
    """What the chat template makes of a conversation: text, unless it is told otherwise.

    Args:
        tokenizer: with a chat template that was tried already, though not on this conversation.
        conversation: its turns.
        how: to be written, as `apply_chat_template` takes it.

    Raises:
        ValueError: if the template refuses the conversation, or computes for too long.
    """
    try:
        with _limited_time(SECONDS):
            return tokenizer.apply_chat_template(
                conversation, **({"tokenize": False, "add_generation_prompt": True} | how)
            )
    except _OverTime:
        raise ValueError(
            f"the chat template of {tokenizer.name_or_path} takes more than {SECONDS} s for the conversation that ends "
            f"{conversation[-1]['content'][-60:]!r}: correct its `chat_template`, or take another model"
        ) from None
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
