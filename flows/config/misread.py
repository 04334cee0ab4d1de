"""Values that are valid by their types and are not what anybody meant, or nothing can be computed with."""

import datetime
import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.config.shown import Place, said

LARGEST_COUNT = 2**31 - 1

LARGEST, SMALLEST = 3.4028e38, 1.1755e-38
"""Sizes of the numbers of type float32, in which all is computed."""

LETTERS = "\n\t"
"""Control letters that a text may hold."""


def misread(written: Any, taken: Any, place: Place = ()) -> Iterator[tuple[Place, str]]:
    """Places of a configuration whose value is none that was meant, with why and the mend.

    Args:
        written: what the file and overrides say, None where they say nothing.
        taken: what became of it, sections as mappings by the names that files give their fields.
        place: of both.
    """
    if isinstance(taken, Mapping):
        below = written if isinstance(written, Mapping) else {}
        for name, value in taken.items():
            yield from misread(below.get(name), value, (*place, name))
    elif isinstance(taken, Sequence) and not isinstance(taken, str):
        items = written if isinstance(written, list) and len(written) == len(taken) else [None] * len(taken)
        for index, value in enumerate(taken):
            yield from misread(items[index], value, (*place, index))
    elif why := _why(written, taken):
        yield place, why


def _why(written: Any, taken: Any) -> str | None:
    match taken:
        case bool():
            return None
        case int() | float() if isinstance(written, bool):
            return f"is {said(written)}, as YAML also reads yes, no, on and off; write a number"
        case int() if abs(taken) > LARGEST_COUNT:
            return f"is {said(taken)}, more than anything here is counted to; it takes at most {LARGEST_COUNT:,}"
        case float() if not math.isfinite(taken):
            return f"is not a finite number (now {taken}); change it"
        case float() if not (taken == 0 or SMALLEST <= abs(taken) <= LARGEST):
            return f"is {taken}, which float32 cannot hold; take a size from {SMALLEST} to {LARGEST}, or 0"
        case datetime.date() if written is not None and str(written) != str(taken):
            return f"is {said(written)}, which is no date as 2026-01-31 is; write one"
        case Path() if written == "":
            return "is empty; name a file or folder, or leave the field out"
        case str() | Path() if letter := next(filter(_is_control, str(taken)), None):
            return f"holds the control letter {letter!r}; write it without"
    return None


def _is_control(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Cs") and letter not in LETTERS
