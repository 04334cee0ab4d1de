"""HH-RLHF (Bai et al., 2022): two transcripts per row that share all but the last answer."""

import re
from collections.abc import Iterator

from data_contracts.conversation import Message
from data_contracts.formats.items import Misfit, RawRow, Record, compare, text_of
from data_contracts.formats.registry import adapter

_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLES = {"Human": "user", "Assistant": "assistant"}


def _is_transcript(row: RawRow) -> bool:
    chosen = row.get("chosen")
    return isinstance(chosen, str) and chosen.startswith("\n\nHuman:")


@adapter("hh-rlhf", "preferences", fits=_is_transcript)
def preferences(row: RawRow) -> Iterator[Record]:
    """The last answers of the two transcripts; one person compared them."""
    yield compare(_turns(row, "chosen"), _turns(row, "rejected"))


@adapter("hh-rlhf", "prompts", fits=_is_transcript)
def prompts(row: RawRow) -> Iterator[Record]:
    """The conversation up to the last answer."""
    yield {"prompt": _answered(row)[:-1]}


@adapter("hh-rlhf", "demonstrations", fits=_is_transcript)
def demonstrations(row: RawRow) -> Iterator[Record]:
    """The preferred answer, for want of written demonstrations."""
    *prompt, answer = _answered(row)
    yield {"prompt": prompt, "response": answer["content"]}


def _answered(row: RawRow) -> list[Message]:
    turns = _turns(row, "chosen")
    if len(turns) < 2 or turns[-1]["role"] != "assistant":
        raise Misfit("chosen", "does not end with an answer to a prompt")
    return turns


def _turns(row: RawRow, field: str) -> list[Message]:
    transcript = text_of(row, field)
    if not isinstance(transcript, str):
        raise Misfit(field, "is not text")
    before, *parts = _TURN.split(transcript)
    if before.strip() or not parts:
        raise Misfit(field, "is not a transcript that begins with Human:")
    return [
        Message(role=_ROLES[name], content=content.strip())
        for name, content in zip(parts[::2], parts[1::2], strict=True)
    ]
