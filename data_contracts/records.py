"""The columns of the three datasets, named once."""

from typing import Literal, TypedDict

CONTRACT_VERSION = "1"
"""Raised whenever a column or a rule changes; part of the digest of every snapshot."""

Kind = Literal["demonstrations", "preferences", "prompts"]

SPLIT = "split"
"""Optional column, present once rows have been divided into train, judge and test."""


class Demonstration(TypedDict):
    """A prompt with a response that an assistant should give.

    Attributes:
        group: what must stay on one side of every split: the opening turn, the prompt, or the tree.
        source: where the row comes from, a short name without path.
    """

    prompt: str
    response: str
    group: str
    source: str


class PreferencePair(TypedDict):
    """Two responses to one prompt and how many annotators preferred each; `chosen` is the majority's."""

    prompt: str
    chosen: str
    rejected: str
    group: str
    source: str
    votes_chosen: int
    votes_rejected: int


class Prompt(TypedDict):
    """A prompt that the policy answers while it is trained or evaluated."""

    prompt: str
    group: str
    source: str


COLUMNS: dict[Kind, tuple[str, ...]] = {
    "demonstrations": tuple(Demonstration.__annotations__),
    "preferences": tuple(PreferencePair.__annotations__),
    "prompts": tuple(Prompt.__annotations__),
}
