"""What a stage trains on: text, in the field's terms."""

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
