"""Training records as text: demonstrations, preference pairs, choices and votes, responses."""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple


class Demonstration(NamedTuple):
    """A prompt with the response that an assistant should give."""

    prompt: str
    response: str


class Pair(NamedTuple):
    """Two responses to one prompt, the preferred one first.

    Attributes:
        margin: reward gap in logits that the pair must clear; 0.0 is plain Bradley-Terry.
        weight: how much its loss counts while something is trained on it; 1 on average over the training pairs.
        share: share of the votes that the preferred one got, in [0.5, 1]; 1.0 where nobody disagreed.
        grade: by how much people find the preferred one better, in a unit of their own; 0.0 where nobody said.
    """

    prompt: str
    chosen: str
    rejected: str
    margin: float = 0.0
    weight: float = 1.0
    share: float = 1.0
    grade: float = 0.0


class Choice(NamedTuple):
    """Two responses to one prompt that nobody has compared yet; which is first says nothing about them."""

    prompt: str
    first: str
    second: str


class VoteCounts(NamedTuple):
    """Counts of annotators who preferred the first and the second response."""

    first: int
    second: int


def decide(choice: Choice, votes: VoteCounts) -> Pair:
    """The pair that votes make of a choice.

    Args:
        choice: the two responses.
        votes: on them; at least one, and not a tie.

    Raises:
        ValueError: if the votes prefer neither.
    """
    if votes.first == votes.second:
        raise ValueError(f"{votes.first} votes to {votes.second} prefer neither response: ask an odd number of times")
    chosen, rejected = (choice.first, choice.second) if votes.first > votes.second else (choice.second, choice.first)
    return Pair(choice.prompt, chosen, rejected, share=max(votes) / sum(votes))


def vote_share(chosen: float, rejected: float, tied: float) -> float:
    """Share of the votes that the preferred response got; each gets half of a tie."""
    return (chosen + tied / 2) / (chosen + rejected + tied)


def make_pairs(
    texts: Iterable[tuple[str, str, str]], votes: Iterable[tuple[float, float, float]], grades: Iterable[float]
) -> list[Pair]:
    """The pairs that the columns of a table hold, in their order.

    Args:
        texts: prompt, preferred response and the other one.
        votes: for the preferred response, for the other one, and ties.
        grades: as in `Pair`.
    """
    rows = zip(texts, votes, grades, strict=True)
    return [Pair(*text, share=vote_share(*cast), grade=grade) for text, cast, grade in rows]


HALVED_BY = "hash"
"""Name of the rule of `tuning_half`; versions that name none were tuned on every second prompt of any number."""

FEW = 100
"""Prompts of which chance might leave too few on one side."""


def tuning_half(prompts: Iterable[str]) -> set[str]:
    """Held-out prompts that a model is tuned on: its temperature fitted, its state chosen. The others judge it.

    A hash decides, so that a prompt stays on its side while the table grows, and a later version and the champion are
    judged by the same ones. Of fewer than `FEW` every second one tunes.

    Args:
        prompts: in the order of their table; a prompt counts once.
    """
    known = list(dict.fromkeys(prompts))
    return set(known[::2]) if len(known) < FEW else set(filter(_tunes, known))


def _tunes(prompt: str) -> bool:
    digest = hashlib.blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=1, person=b"tuning half")
    return digest.digest()[0] % 2 == 0


class Response(NamedTuple):
    """Text of a sampled response and whether it ended by itself."""

    text: str
    finished: bool
