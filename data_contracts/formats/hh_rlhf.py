"""HH-RLHF (Bai et al., 2022): transcripts of Human and Assistant, two per row that share all but the last answer."""

import re
from collections.abc import Iterator
from typing import Any

from data_contracts.conversation import Message
from data_contracts.formats.fields import text_of
from data_contracts.formats.items import Misfit, RawRow, Record, compare
from data_contracts.formats.registry import adapter

_OPENING = re.compile(r"\s*Human:")
_BREAKS = (r"(?:\r?\n[ \t]*){2,}", r"\r?\n[ \t]*")
_ANSWERS = [re.compile(rf"{breaks}Assistant:") for breaks in _BREAKS]
_TURNS = [re.compile(rf"(?:\A\s*|{breaks})(Human|Assistant):") for breaks in _BREAKS]
_ROLES = {"Human": "user", "Assistant": "assistant"}
_RESPONSES = ("chosen", "completion", "response")


def _is_transcript(cell: Any) -> bool:
    return isinstance(cell, str) and bool(_OPENING.match(cell)) and any(answer.search(cell) for answer in _ANSWERS)


def _holds_transcript(row: RawRow) -> bool:
    return _is_transcript(row.get("chosen")) or _is_transcript(row.get("prompt"))


@adapter("hh-rlhf", "preferences", fits=_holds_transcript, precedence=30)
def preferences(row: RawRow) -> Iterator[Record]:
    """The last answers of the two transcripts; one person compared them."""
    yield compare(_turns(row, "chosen"), _turns(row, "rejected"))


@adapter("hh-rlhf", "prompts", fits=_holds_transcript, precedence=30)
def prompts(row: RawRow) -> Iterator[Record]:
    """The conversation up to the last answer."""
    if _is_transcript(row.get("prompt")):
        yield {"prompt": _asked(row)}
    else:
        yield {"prompt": _answered(row, "chosen")[:-1]}


@adapter("hh-rlhf", "demonstrations", fits=_holds_transcript, precedence=30)
def demonstrations(row: RawRow) -> Iterator[Record]:
    """The preferred answer, for want of written demonstrations."""
    field = next((name for name in _RESPONSES if row.get(name) is not None), "chosen")
    *prompt, answer = _answered(row, field)
    yield {"prompt": prompt, "response": answer["content"]}


def _answered(row: RawRow, field: str) -> list[Message]:
    turns = _turns(row, field)
    if len(turns) < 2 or turns[-1]["role"] != "assistant":
        raise Misfit(field, "does not end with an answer to a prompt")
    return turns


def _turns(row: RawRow, field: str) -> list[Message]:
    """The conversation in a field, or the one in `prompt` that the field answers."""
    cell = text_of(row, field)
    if not isinstance(cell, str):
        raise Misfit(field, "is not text")
    if _is_transcript(row.get("prompt")) and not _OPENING.match(cell):
        return [*_asked(row), Message(role="assistant", content=cell.strip())]
    return _split(cell, field)


def _asked(row: RawRow) -> list[Message]:
    """The conversation in `prompt`, which may end with the name of who shall speak."""
    turns = _split(row["prompt"], "prompt")
    return turns[:-1] if turns[-1] == Message(role="assistant", content="") else turns


def _split(transcript: str, field: str) -> list[Message]:
    """The turns of a transcript: they begin after an empty line, or a line break where there is no empty line."""
    if not _OPENING.match(transcript):
        raise Misfit(field, "is not a transcript that begins with Human:")
    turn = next((turn for turn, answer in zip(_TURNS, _ANSWERS, strict=True) if answer.search(transcript)), _TURNS[0])
    _, *parts = turn.split(transcript)
    return [
        Message(role=_ROLES[name], content=content.strip())
        for name, content in zip(parts[::2], parts[1::2], strict=True)
    ]
