"""Preference pairs from rated snippets: two that begin with the same words, and how each goes on."""

import gzip
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.quality.movies.task import ask

FILE = "sentiment-ratings/movieReviewSnippets.jsonl.gz"
"""Hutto and Gilbert (2014): `text`, and `ratings` from -4, most negative, to 4, by people who are not told apart."""

SOURCE = "the repository cjhutto/vaderSentiment, folder additional_resources (MIT), a JSON object a line"

LONGEST_OPENING = 2
"""Words at most that two snippets share as their prompt."""

SHORTEST_CONTINUATION = 3
"""Words at least that follow them."""

MOST_OF_AN_OPENING = 12
"""Snippets at most that go on from one opening, so that no prompt outweighs the others."""


class Snippet(NamedTuple):
    """A sentence of a review with what people think of it."""

    text: str
    ratings: list[int]


def read_snippets(data: Path) -> list[Snippet]:
    """The snippets of the file, each text once."""
    with gzip.open(data / FILE, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return list({row["text"].lower(): Snippet(row["text"].strip(), row["ratings"]) for row in rows}.values())


def preferences(snippets: Sequence[Snippet]) -> Iterator[dict[str, Any]]:
    """Rows of the format `votes`.

    What makes two snippets comparable is that they begin alike: the words they share are the prompt, so the responses
    differ in how they go on and in nothing else, and the prompt has the form of those that the policy continues. A
    snippet goes on from one opening only, the longest that it shares, and is in two pairs of it at most; so a split by
    prompts leaks no text.
    """
    for opening, members in share_openings(snippets).items():
        for first, second in _ring(members):
            yield {
                "prompt": ask(opening),
                "response_a": first.text[len(opening) :].strip(),
                "response_b": second.text[len(opening) :].strip(),
                "votes": votes(first.ratings, second.ratings),
            }


def share_openings(snippets: Sequence[Snippet]) -> dict[str, list[Snippet]]:
    """Snippets by the longest opening that they share with another one, in an order that only their texts decide."""
    left = sorted(snippets, key=lambda snippet: _hash(snippet.text))
    shared: dict[str, list[Snippet]] = {}
    for length in range(LONGEST_OPENING, 0, -1):
        groups: dict[str, list[Snippet]] = defaultdict(list)
        for snippet in left:
            if len(snippet.text.split()) >= length + SHORTEST_CONTINUATION:
                groups[_opening(snippet.text, length)].append(snippet)
        groups = {opening: members for opening, members in groups.items() if len(members) > 1}
        taken = {snippet.text for members in groups.values() for snippet in members}
        left = [snippet for snippet in left if snippet.text not in taken]
        shared |= {opening: members[:MOST_OF_AN_OPENING] for opening, members in groups.items()}
    return shared


def votes(first: Sequence[int], second: Sequence[int]) -> list[str]:
    """A vote for each two ratings at the same place: the higher one wins, equal ones are a tie.

    Raters are not told apart, and two snippets seldom have the same; so a vote is what two people say who were each
    asked about one of them. No rating is in two votes of a pair, so these are independent.
    """
    return ["a" if one > other else "b" if one < other else "tie" for one, other in zip(first, second, strict=False)]


def _ring(members: Sequence[Snippet]) -> list[tuple[Snippet, Snippet]]:
    """Each member with the next, the last with the first; two make one pair."""
    around = [*members[1:], members[0]] if len(members) > 2 else members[1:]
    return list(zip(members, around, strict=False))


def _opening(text: str, length: int) -> str:
    """The first words of a text as it writes them."""
    return text[: len(text) - len(text.split(maxsplit=length)[length])].rstrip()


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
