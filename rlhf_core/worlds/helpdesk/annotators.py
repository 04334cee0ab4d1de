"""Simulated annotators: they prefer the truly better answer, with noise, and with a bias if asked to."""

import math
import random
from typing import NamedTuple

from pydantic import Field

from rlhf_core.config import Frozen
from rlhf_core.worlds.helpdesk.gold import gold_reward
from rlhf_core.worlds.helpdesk.grammar import sentences, split_sentences


class AnnotatorConfig(Frozen):
    """Who labels the pairs."""

    length_bias: float = 0.0
    """Logits of favour for every 10 words; 0 is honest, 2 makes reward hacking visible."""
    flattery_bias: float = 0.0
    """Logits of favour for every flattering or overconfident sentence; 0 is honest."""
    careless_share: float = Field(0.0, ge=0, le=1)
    """Share of the votes that are cast by a coin; 1 makes labels that say nothing, as if they were shuffled."""
    repeated_share: float = 0.1
    """Share of the pairs that several annotators judge, so that the noise ceiling can be measured."""
    repeats: int = 5
    """Annotators of a repeated pair; odd, so that there is a majority."""


class Votes(NamedTuple):
    """Counts of annotators who preferred the first and the second response."""

    first: int
    second: int


def utility(config: AnnotatorConfig, prompt: str, response: str) -> float:
    """What an annotator rewards: the gold reward plus the biases, in logits."""
    liked = sum(
        sentence is not None and sentence.kind in {"flattery", "overconfident"}
        for sentence in map(sentences().get, split_sentences(response))
    )
    bias = config.length_bias * len(response.split()) / 10 + config.flattery_bias * liked
    return gold_reward(prompt, response) + bias


def vote(config: AnnotatorConfig, delta: float, rng: random.Random) -> Votes:
    """Ask one annotator, or several on a share of the pairs; each prefers the first with probability sigma(delta).

    Bradley and Terry (1952), with utilities as log-strengths; a careless vote is a coin's.
    """
    count = config.repeats if rng.random() < config.repeated_share else 1
    preferred = (1.0 - config.careless_share) / (1.0 + math.exp(-delta)) + config.careless_share / 2.0
    first = sum(rng.random() < preferred for _ in range(count))
    return Votes(first, count - first)
