"""What counts as the same text, and as none: for comparing alone, what trains keeps the form it came in."""

import re
import unicodedata
from functools import lru_cache

_UNSEEN = (
    r"\s\x00-\x1f\x7f-\x9f\u2800"
    # Default_Ignorable_Code_Point of Unicode 15.1, and the interlinear marks
    r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    r"\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_SEEN = re.compile(f"[^{_UNSEEN}]")
_UNSEEN_MARKS = re.compile(f"(?!\\s)[{_UNSEEN}]")


def is_blank(text: str) -> bool:
    """Whether nothing of a text can be seen: white space, controls, joiners, marks of order or direction."""
    return _SEEN.search(text) is None


def same_form(text: str) -> str:
    """One form of all texts that are canonically the same (Unicode NFC), such as é and e with an accent."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


@lru_cache(maxsize=4096)
def name_form(name: str) -> str:
    """One form of all names that look the same: canonical (NFC), without invisible marks, with single spaces inside."""
    return " ".join(_UNSEEN_MARKS.sub("", unicodedata.normalize("NFC", name)).split())


def loose_form(text: str) -> str:
    """One form of all texts that differ in case, white space, invisible marks or compatible signs (NFKC) alone."""
    if text.isascii():
        if text.isprintable() and "  " not in text and text[:1] != " " != text[-1:]:
            return text.lower()
    else:
        text = _UNSEEN_MARKS.sub("", unicodedata.normalize("NFKC", text))
        text = unicodedata.normalize("NFKC", text.casefold())
    return " ".join(text.casefold().split())
