"""Preference pairs from rated snippets: two that begin with the same words, and how each goes on."""

import gzip
import hashlib
import json
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.quality.movies.task import ask

ARCHIVE = "hutto_ICWSM_2014.tar.gz"
"""Hutto and Gilbert (2014), as they publish it: tables of texts and of every rating, by number."""

LINES = "sentiment-ratings/movieReviewSnippets.jsonl.gz"
"""The same with `text` and `ratings` of a snippet on each line, which is read where there is no archive."""

SOURCE = "additional_resources in the repository cjhutto/vaderSentiment (MIT)"

LONGEST_OPENING = 2
"""Words at most that two snippets share as their prompt."""

SHORTEST_CONTINUATION = 3
"""Words at least that follow them."""

MOST_OF_AN_OPENING = 12
"""Snippets at most that go on from one opening, so that no prompt outweighs the others."""


class Snippet(NamedTuple):
    """A sentence of a review with what people think of it.

    Attributes:
        text: as it was rated.
        ratings: from -4, most negative, to 4, by people who are not told apart.
    """

    text: str
    ratings: list[int]


def read_snippets(data: Path) -> list[Snippet]:
    """The rated snippets in a folder, each text once."""
    path = find(data)
    rated = _of_archive(path) if path.name == ARCHIVE else _of_lines(path)
    return list({snippet.text.lower(): snippet for snippet in rated}.values())


def find(data: Path) -> Path:
    """Where the ratings are in a folder, or would be."""
    return next((path for path in (data / ARCHIVE, data / LINES) if path.is_file()), data / ARCHIVE)


def _of_archive(path: Path) -> list[Snippet]:
    with tarfile.open(path) as archive:
        texts, ratings = (
            dict(zip(*columns, strict=True))
            for columns in (
                _columns(archive, "movieReviewSnippets_GroundTruth.txt"),
                _columns(archive, "movieReviewSnippets_anonDataRatings.txt"),
            )
        )
    return [Snippet(text.strip(), json.loads(ratings[number])) for number, text in texts.items()]


def _columns(archive: tarfile.TarFile, name: str) -> tuple[list[str], list[str]]:
    """The first and the last column of a table in which tabs are between columns."""
    file = archive.extractfile(f"{ARCHIVE.removesuffix('.tar.gz')}/{name}")
    assert file is not None
    rows = [line.split("\t") for line in file.read().decode("utf-8").splitlines() if line.strip()]
    return [row[0] for row in rows], [row[-1] for row in rows]


def _of_lines(path: Path) -> list[Snippet]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [Snippet(row["text"].strip(), row["ratings"]) for row in rows]


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
