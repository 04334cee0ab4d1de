"""What the labels in a column seem to say, by the words that people give them."""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from data_contracts.formats.fields import number_in
from flows.config.columns import Meaning, Says, Scale, label_text
from flows.data.mapping.names import SEQUENCES, words_of

MOST_LABELS = 25
"""Different values that a column of labels has at most."""

MOST_WORDS = 10
"""Words of a label."""

_SKIP = re.compile(
    r"both\W?bad|both (?:are )?(?:bad|poor|wrong|unacceptable)|equally bad|skip|unsure|not sure|uncertain|invalid|"
    r"unclear|can(?:no|')t|n/?a$|unknown|flag|unusable|neither|none|idk|don'?t know|reject|broken"
)
_TIE = re.compile(
    r"\bties?\b|\btied\b|equal|\bsame\b|neutral|\bdraw\b|similar|indifferent|both|"
    r"no (?:clear )?(?:preference|difference)"
)
_FILLERS = re.compile(r"\ba (?:bit|little|lot|tad|tie)\b")
_OVER = re.compile(r"\b(?:than|over|vs|to|against)\b")
_SIGNS = re.compile(r"\W*(\w+)\s*(<{1,3}|>{1,3}|=+)\s*(\w+)\W*")
_MUCH = re.compile(r"much|signific|far|strong|definit|clear|substant|great|extreme|\bway\b|a lot|considerabl")
_SOMEWHAT = re.compile(r"slight|somewhat|marginal|a bit|a little|a tad|barely|weak|negligib|minor|lean")
_WORSE = re.compile(r"\bworse\b|\bloses?\b")
_TICKS = (("true", "false"), ("yes", "no"), ("y", "n"), ("t", "f"))
_ENDS = (
    *((-end, end) for end in (1, 2, 3, 4, 5, 10, 50, 100)),
    *((0, 1), (1, 5), (0, 4), (1, 7), (0, 6), (1, 9), (0, 10), (0, 100)),
)
"""Ends of the scales that people are given, the narrowest first."""


class Reading(NamedTuple):
    """What a column of labels seems to say.

    Attributes:
        labels: what each label says, those that were not seen but have a counterpart included.
        scale: the same of numbers.
        doubt: what should be looked at, empty where nothing else is likely.
    """

    labels: dict[str, Meaning]
    scale: Scale | None = None
    doubt: str = ""


def read_labels(column: str, values: Sequence[object], sides: tuple[str, ...], *, named_so: bool) -> Reading | None:
    """What the values of a column say of two responses; None where they are no labels.

    Args:
        column: its name.
        values: its cells that hold something.
        sides: the words in which the names of the two responses differ.
        named_so: whether its name speaks of a label, which a scale of numbers must.
    """
    if any(isinstance(value, list | dict) for value in values):
        return None
    texts = list(dict.fromkeys(label_text(value) for value in values))
    longest = max((len(words_of(text)) for text in texts), default=0)
    if not texts or longest > (MOST_WORDS if named_so else MOST_WORDS // 2):
        return None
    if len(texts) > (MOST_LABELS if named_so else max(MOST_LABELS // 6, 2)):
        return None if _in_words(texts) or not named_so else _numbers(_floats(texts), sides)
    if (ticks := _ticks(column, texts)) is not None:
        return ticks
    if not _in_words(texts):
        return _numbers(_floats(texts), sides) if named_so else None
    for pair in dict.fromkeys(pair[:2] for pair in (sides, *SEQUENCES) if len(pair) > 1):
        read = {text: _says(text, pair) for text in texts}
        known = {text: meaning for text, meaning in read.items() if meaning is not None}
        if len(known) == len(read) and any(meaning.says in ("first", "second") for meaning in known.values()):
            return Reading(_ungraded_unless_scaled(_with_counterparts(known, pair)))
    return None


def _in_words(texts: Sequence[str]) -> bool:
    return not all(isinstance(number_in(text), int | float) for text in texts)


def _floats(texts: Sequence[str]) -> list[float]:
    return [float(number_in(text)) for text in texts]


def _says(text: str, pair: tuple[str, ...]) -> Meaning | None:
    """What one label says, if it names a side of this pair or none."""
    if signs := _SIGNS.fullmatch(text):
        return _by_sign(signs, pair)
    if _SKIP.search(text):
        return Meaning(says="skip")
    said = _OVER.split(_FILLERS.sub(" ", text))[0]
    words = words_of(said)
    wide = " ".join(words)
    found = [side for side, word in zip(("first", "second"), pair, strict=True) if _names(word, words, wide)]
    if len(found) != 1:
        return Meaning(says="tie") if _TIE.search(text) else None
    is_first = (found[0] == "first") != bool(_WORSE.search(text))
    grade = 3.0 if _MUCH.search(text) else 1.0 if _SOMEWHAT.search(text) else 2.0
    return Meaning(says="first" if is_first else "second", grade=grade)


def _names(side: str, words: Sequence[str], wide: str) -> bool:
    return side in words if " " not in side else side in wide


def _by_sign(signs: "re.Match[str]", pair: tuple[str, ...]) -> Meaning | None:
    left, sign, right = signs.groups()
    if {left, right} != set(pair):
        return None
    if sign[0] == "=":
        return Meaning(says="tie")
    return Meaning(says="first" if (left == pair[0]) == (sign[0] == ">") else "second", grade=len(sign))


def _with_counterparts(known: dict[str, Meaning], pair: tuple[str, ...]) -> dict[str, Meaning]:
    """The labels, and for each that names a side the one that names the other, as a file may lack it by chance."""
    if any(" " in side for side in pair):
        return known
    other = {pair[0]: pair[1], pair[1]: pair[0]}
    side = re.compile(rf"(?<![^\W\d_])({'|'.join(map(re.escape, pair))})(?![^\W\d_])")
    swapped = {}
    for text, meaning in known.items():
        if meaning.says in ("first", "second"):
            opposite = "second" if meaning.says == "first" else "first"
            mirrored = side.sub(lambda match: other[match[1]], _FILLERS.sub(lambda match: match[0].upper(), text))
            swapped[mirrored.casefold()] = Meaning(says=opposite, grade=meaning.grade)
    return known | {text: meaning for text, meaning in swapped.items() if text not in known}


def _ungraded_unless_scaled(labels: dict[str, Meaning]) -> dict[str, Meaning]:
    """Grades are kept where there are several."""
    grades = {meaning.grade for meaning in labels.values() if meaning.says in ("first", "second")}
    if len(grades) > 1:
        return labels
    return {text: Meaning(says=meaning.says) for text, meaning in labels.items()}


def _ticks(column: str, texts: Sequence[str]) -> Reading | None:
    """Yes and no, in a column that names one side, such as `a_is_better`."""
    seen = [pair for pair in _TICKS if not set(pair).isdisjoint(texts)]
    if set(texts) - {text for pair in seen for text in pair}:
        return None
    named = set(words_of(column))
    for first, second in (sequence[:2] for sequence in SEQUENCES):
        if len(named & {first, second}) == 1:
            sides: tuple[Says, Says] = ("first", "second") if first in named else ("second", "first")
            return Reading({text: Meaning(says=says) for pair in seen for text, says in zip(pair, sides, strict=True)})
    return None


def _numbers(numbers: Sequence[float], sides: tuple[str, ...]) -> Reading | None:
    """Numbers that name a response, or lie on a scale; None of one number that is on no scale that people use."""
    seen, low, high = set(numbers), min(numbers), max(numbers)
    if seen <= {0, 1}:
        doubt = "" if sides[:2] == ("0", "1") else "0 and 1 may be the other way round"
        return Reading({"0": Meaning(says="first"), "1": Meaning(says="second")}, doubt=doubt)
    if seen <= {0, 1, 2, 3} and not {0, 3} <= seen:
        tie = {"0": Meaning(says="tie")} if 0 in seen else {"3": Meaning(says="tie")} if 3 in seen else {}
        doubt = "3 may be another thing than a tie, such as the end of a scale" if 3 in seen else ""
        return Reading({"1": Meaning(says="first"), "2": Meaning(says="second"), **tie}, doubt=doubt)
    fitting = (ends for ends in _ENDS if (ends[0] < 0) == (low < 0) and ends[0] <= low and high <= ends[1])
    first, second = next(fitting, (low, high))
    if first == second or not math.isfinite(second - first):
        return None
    return Reading({}, Scale(first=first, second=second), "where the scale ends, and which end is the first response")


def says_no_side(label: str) -> Says | None:
    """Whether a label is a tie or no vote; None where it is something else."""
    meaning = _says(label, ("", ""))
    return meaning.says if meaning and meaning.says in ("tie", "skip") else None
