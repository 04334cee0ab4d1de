"""Names of columns, read as people give them: words, and columns that differ in the side that they name."""

import re
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

SEQUENCES = (
    tuple("abcdefgh"),
    tuple("123456789"),
    ("left", "right"),
    ("first", "second", "third", "fourth", "fifth"),
    ("one", "two", "three", "four", "five"),
    tuple("xyz"),
    tuple("0123456789"),
    ("i", "ii", "iii", "iv"),
    tuple("甲乙丙丁"),
    tuple("абвг"),
    tuple("أبجد"),
)
"""What tells one of several responses from the others, in names and in labels."""

BETTER_AND_WORSE = (
    ("chosen", "rejected"),
    ("chosen", "reject"),
    ("preferred", "dispreferred"),
    ("preferred", "rejected"),
    ("preferred", "unpreferred"),
    ("winner", "loser"),
    ("winning", "losing"),
    ("accepted", "rejected"),
    ("better", "worse"),
    ("best", "worst"),
    ("good", "bad"),
    ("positive", "negative"),
    ("pos", "neg"),
)

_PREFIX = re.compile(r"(?:inputs?|outputs?|answers?|assignment|data|params|payload|fields|value)[.:/]", re.IGNORECASE)
_SEAMS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])|(?<=[^\x00-\x7f])(?=[A-Za-z0-9])")


class Family(NamedTuple):
    """Columns whose names differ in one word only.

    Attributes:
        words: what they share.
        names: the columns in the order of their sides.
        sides: the words in which they differ.
    """

    words: frozenset[str]
    names: tuple[str, ...]
    sides: tuple[str, ...]


def words_of(name: str) -> tuple[str, ...]:
    """The words of a column or a label in small letters, without the part of a form that tools put before it.

    `Input.responseA`, `INPUT:response_a` and `Response A` are all `response`, `a`.
    """
    spaced = _SEAMS.sub(" ", _PREFIX.sub("", name.strip(), count=1))
    return tuple(word for word in re.split(r"[\W_]+", spaced.casefold()) if word)


def families(names: Iterable[str]) -> list[Family]:
    """Columns that name the sides of one thing, such as `answer_1` and `answer_2`, the longest families first."""
    members: dict[tuple[tuple[str, ...], int], dict[str, str]] = defaultdict(dict)
    for name in names:
        words = words_of(name)
        for at, word in enumerate(words):
            members[(*words[:at], "", *words[at + 1 :]), at].setdefault(word, name)
    found: list[Family] = []
    for (words, _), by_side in members.items():
        for sequence in SEQUENCES:
            sides = sequence[: next((at for at, side in enumerate(sequence) if side not in by_side), len(sequence))]
            if len(sides) > 1 and not (sequence[0] == "0" and len(sides) < len(by_side) > 2):
                found.append(Family(frozenset(words) - {""}, tuple(by_side[side] for side in sides), sides))
    return sorted(found, key=lambda family: -len(family.names))


def better_and_worse(names: Iterable[str]) -> Family | None:
    """Two columns whose names say which response is better."""
    by_words = {words_of(name): name for name in names}
    for better, worse in BETTER_AND_WORSE:
        for words, name in by_words.items():
            other = tuple(worse if word == better else word for word in words)
            if better in words and other in by_words:
                return Family(frozenset(words) - {better}, (name, by_words[other]), (better, worse))
    return None


def apart(one: str, other: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words of two names that the other does not have, such as `gpt`, `4` and `claude` of their answers."""
    first, second = words_of(one), words_of(other)
    return tuple(w for w in first if w not in second), tuple(w for w in second if w not in first)


def turns(names: Iterable[str]) -> tuple[str, ...]:
    """Columns that hold the turns of a conversation, such as `user_1`, `assistant_1`, `user_2`; else none."""
    speakers = {"user": 0, "human": 0, "customer": 0, "assistant": 1, "bot": 1, "agent": 1, "ai": 1}
    places = {}
    for name in names:
        words = words_of(name)
        speaker = [speakers[word] for word in words if word in speakers]
        number = [int(word) for word in words if word.isdecimal() and len(word) < 3]
        if len(speaker) == len(number) == 1:
            places[number[0], speaker[0]] = name
    ordered = sorted(places)
    takes_turns = all(one[1] != other[1] for one, other in pairwise(ordered))
    if len(ordered) < 3 or not takes_turns or ordered[0][1] != 0:
        return ()
    return tuple(places[place] for place in (ordered if ordered[-1][1] == 0 else ordered[:-1]))
