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
        dissent: share of the votes that went to the rejected response, in [0, 0.5]: 0.5 is a tie. What is trained on
            the pair then wins it with probability 1 - dissent and no more.
    """

    prompt: str
    chosen: str
    rejected: str
    margin: float = 0.0
    weight: float = 1.0
    dissent: float = 0.0
