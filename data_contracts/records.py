"""The columns of the three datasets, named once."""

from typing import Literal, TypedDict

CONTRACT_VERSION = "5"
"""Raised whenever a column or a rule changes; part of the digest of every snapshot."""

Kind = Literal["demonstrations", "preferences", "prompts"]

SPLIT = "split"
"""Column of snapshots: train, judge or test."""
PROVENANCE = ("source", "row")
"""Columns that say where a row comes from; no part of a digest."""

VOTES = ("votes_chosen", "votes_rejected", "votes_tied")

LARGEST = 10**9
"""No count, grade, score or rank is beyond it; a larger number is a broken cell."""


class DemonstrationRow(TypedDict):
    """A prompt with a response that an assistant should give.

    Attributes:
        prompt: a user's turn as plain text, or several turns as `data_contracts.conversation` writes them.
        group: what must stay on one side of every split: the opening turn, the prompt, or the tree.
        source: the file that the row comes from, a short name without its folder.
        row: its number there, from 1.
    """

    prompt: str
    response: str
    group: str
    source: str
    row: int


class PreferencePair(TypedDict):
    """Two responses to one prompt and how many annotators preferred each; `chosen` is the majority's.

    Attributes:
        votes_tied: annotators who found both alike.
        grade: by how much `chosen` is better, in the unit of those who graded it; 0 where nobody did.
    """

    prompt: str
    chosen: str
    rejected: str
    group: str
    votes_chosen: int
    votes_rejected: int
    votes_tied: int
    grade: float
    source: str
    row: int


class PromptRow(TypedDict):
    """A prompt that the policy answers while it is trained or evaluated."""

    prompt: str
    group: str
    source: str
    row: int


COLUMNS: dict[Kind, tuple[str, ...]] = {
    "demonstrations": tuple(DemonstrationRow.__annotations__),
    "preferences": tuple(PreferencePair.__annotations__),
    "prompts": tuple(PromptRow.__annotations__),
}
TEXTS: dict[Kind, tuple[str, ...]] = {
    "demonstrations": ("prompt", "response"),
    "preferences": ("prompt", "chosen", "rejected"),
    "prompts": ("prompt",),
}
"""The columns that a model reads."""
