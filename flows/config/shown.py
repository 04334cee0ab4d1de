"""Values as messages show them: in one line, control letters spelt, and of a long one only the start."""

import datetime
from typing import Any

Place = tuple[str | int, ...]
"""Keys and positions that lead to a value of a document."""

LONGEST = 100
"""Characters of a value in a message."""


def cut(text: str) -> str:
    """A text in quotation marks."""
    shown = repr(text[: LONGEST + 1])
    return shown if len(shown) <= LONGEST + 2 else f"{shown[:LONGEST]}…"


def bare(text: str) -> str:
    """A text as it is, if it can stand in a line so."""
    return text if text.isprintable() and 0 < len(text) <= LONGEST else cut(text)


def said(value: Any) -> str:
    """A value of a document, of which long lists and sections only their size."""
    match value:
        case dict() | list() | tuple():
            kind = "mapping" if isinstance(value, dict) else "list"
            return f"a {kind} of {len(value)}" if value else f"an empty {kind}"
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return cut(value)
        case int() | float() | datetime.date():
            return bare(str(value))
    return cut(str(value))


def line(text: str) -> str:
    """A sentence in one line; of a long one start and end."""
    spelt = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return spelt if len(spelt) <= 8 * LONGEST else f"{spelt[: 5 * LONGEST]} … {spelt[-2 * LONGEST :]}"


def dotted(place: Place) -> str:
    """A place in a document, as messages and `--set` write it."""
    return ".".join(bare(str(name)) for name in place)
