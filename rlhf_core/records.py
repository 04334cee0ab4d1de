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
    """

    prompt: str
    chosen: str
    rejected: str
    margin: float = 0.0
    weight: float = 1.0
