"""Readers of a row's fields: null is as good as absent, and a number or a conversation may be written as text."""

import re
from typing import Any

from data_contracts.conversation import ROLES, Message
from data_contracts.formats.items import Misfit, RawRow
from data_contracts.formats.json_text import DECODER, RepeatedKey
from data_contracts.records import LARGEST

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)

_OBJECTS = re.compile(r"\s*(?:array\()?\s*\[?\s*\{\s*(['\"])\w+\1\s*:")
_SPEAKER = re.compile(
    r"(['\"])(?:role|from)\1\s*:\s*(['\"])(?:system|developer|user|human|assistant|gpt|tool|function)\2"
)
_SPEECH = re.compile(r"(['\"])(?:content|value)\1\s*:")


def cell_of(row: RawRow, field: str) -> Any:
    """What stands in a field. Whether it is what it should be is for the contract to say, which names the cell.

    Raises:
        Misfit: if the field is missing or null.
    """
    cell = row.get(field)
    if cell is None:
        raise Misfit(field, "is missing")
    return cell


def text_of(row: RawRow, field: str) -> Any:
    """What stands in a field of plain text.

    Raises:
        Misfit: if the field is missing, or its text is a conversation written down, which no reader should learn from.
    """
    cell = cell_of(row, field)
    if isinstance(cell, str) and _is_conversation(cell):
        raise Misfit(field, "is a conversation written as text, where this format has plain text")
    return cell


def turns_of(row: RawRow, field: str) -> Any:
    """The text of a field, or the messages there: as a list, or as JSON text of one, as columns of text hold it.

    Raises:
        Misfit: if the field is missing, or holds messages that are wrong or written in another way.
    """
    cell = cell_of(row, field)
    if isinstance(cell, str) and _is_conversation(cell):
        try:
            cell = DECODER.decode(cell)
        except RepeatedKey as error:
            raise Misfit(field, str(error)) from None
        except (ValueError, RecursionError):
            raise Misfit(
                field,
                "is a list of messages as Python prints it, not text and not JSON; write the messages themselves to "
                "JSON Lines or Parquet",
            ) from None
    if isinstance(cell, dict) and "role" in cell:
        cell = [cell]
    return _messages(cell, field) if isinstance(cell, list) else cell


def objects_of(row: RawRow, field: str) -> list[RawRow]:
    """The objects listed in a field.

    Raises:
        Misfit: if it is missing or something else.
    """
    return _objects(cell_of(row, field), field)


def messages_of(row: RawRow, field: str) -> list[Message]:
    """The messages in a field.

    Raises:
        Misfit: naming what is wrong with the field, or with its first bad message.
    """
    return _messages(turns_of(row, field), field)


def stripped(cell: Any) -> Any:
    """A text without surrounding white space; anything else as it is."""
    return cell.strip() if isinstance(cell, str) else cell


def number_in(cell: Any) -> Any:
    """A number that is written as text, as CSV files do, as the number; None for blank text; else the cell itself."""
    if not isinstance(cell, str):
        return cell
    text = cell.strip()
    if not text:
        return None
    if not _NUMBER.fullmatch(text):
        return cell
    return int(text) if text.isdecimal() and len(text) < 16 else float(text)


def number_of(row: RawRow, field: str) -> float | None:
    """The number in a field, None where there is none.

    Raises:
        Misfit: if something else stands there, or a number that is not finite.
    """
    cell = number_in(row.get(field))
    if cell is None:
        return None
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        raise Misfit(field, "is not a number")
    if not -LARGEST <= cell <= LARGEST:
        raise Misfit(field, f"is not a number, or beyond {LARGEST:,}; write null where there is none")
    return cell


def whole_number_of(row: RawRow, field: str) -> int | None:
    """The whole number in a field, None where there is none.

    Raises:
        Misfit: if something else stands there.
    """
    number = number_in(row.get(field))
    if number is None:
        return None
    if isinstance(number, bool) or not isinstance(number, int | float) or not number % 1 == 0:
        raise Misfit(field, "is not a whole number")
    return int(number)


def _is_conversation(text: str) -> bool:
    """Whether a whole text is messages written down; lists of anything else are answers like any other."""
    return bool(
        _OBJECTS.match(text)
        and text.rstrip().endswith(("]", "}", ")"))
        and _SPEAKER.search(text)
        and _SPEECH.search(text)
    )


def _objects(cell: Any, field: str) -> list[RawRow]:
    if not isinstance(cell, list) or not all(isinstance(item, dict) for item in cell):
        raise Misfit(field, "is not a list of objects")
    return cell


def _messages(cell: Any, field: str) -> list[Message]:
    messages = _objects(cell, field)
    if not messages:
        raise Misfit(field, "holds no message")
    for message in messages:
        if message.get("role") not in ROLES:
            raise Misfit(field, f"has a message whose role is not one of {', '.join(ROLES)}")
        if not isinstance(message.get("content"), str):
            raise Misfit(field, "has a message whose content is not text")
    return [Message(role=message["role"], content=message["content"]) for message in messages]
