"""Simulated annotators: they prefer the truly better answer, with noise, and with a bias if asked to."""

import math
import random
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import Field

from rlhf_core.config import Frozen
from rlhf_core.config.units import Annotators, Share, unit
from rlhf_core.data.records import Choice, VoteCounts
from rlhf_core.embedded_world.gold import gold_reward
from rlhf_core.embedded_world.grammar import sentences, split_sentences


class AnnotatorConfig(Frozen):
    """Who labels the pairs."""

    length_bias: Annotated[float, unit("logits per 10 words")] = 0.0
    """Logits of favour for every 10 words; 0 is honest, 2 makes reward hacking visible."""
    flattery_bias: Annotated[float, unit("logits per sentence")] = 0.0
    """Logits of favour for every flattering or overconfident sentence; 0 is honest."""
    careless_share: Share = Field(0.0, ge=0, le=1)
    """Share of the votes that are cast by a coin; 1 makes labels that say nothing, as if they were shuffled."""
    repeated_share: Share = Field(0.1, ge=0, le=1)
    """Share of the pairs that several annotators judge, so that the noise ceiling can be measured."""
    repeats: Annotators = Field(5, ge=1)
    """Annotators of a repeated pair; odd, so that there is a majority."""


def utility(config: AnnotatorConfig, prompt: str, response: str) -> float:
    """What an annotator rewards: the gold reward plus the biases, in logits."""
    liked = sum(
        sentence is not None and sentence.kind in {"flattery", "overconfident"}
        for sentence in map(sentences().get, split_sentences(response))
    )
    bias = config.length_bias * len(response.split()) / 10 + config.flattery_bias * liked
    return gold_reward(prompt, response) + bias


def vote(config: AnnotatorConfig, delta: float, rng: random.Random) -> VoteCounts:
    """Ask one annotator, or several on a share of the pairs; each votes as `ask` says."""
    return ask(config, delta, config.repeats if rng.random() < config.repeated_share else 1, rng)


def ask(config: AnnotatorConfig, delta: float, count: int, rng: random.Random) -> VoteCounts:
    """Ask some annotators, each of whom prefers the first with probability sigma(delta).

    Bradley and Terry (1952), with utilities as log-strengths; a careless vote is a coin's.
    """
    preferred = (1.0 - config.careless_share) / (1.0 + math.exp(-delta)) + config.careless_share / 2.0
    first = sum(rng.random() < preferred for _ in range(count))
    return VoteCounts(first, count - first)


def annotate(config: AnnotatorConfig, choices: Sequence[Choice], *, votes: int, seed: int) -> list[VoteCounts]:
    """Have every choice judged by the same number of annotators.

    Args:
        config: who they are; `repeated_share` and `repeats` are for the pairs of the world itself.
        choices: responses to prompts of the help desk, any strings.
        votes: annotators of each choice.
        seed: seed of their votes.

    Returns:
        Votes in the order of the choices.
    """
    rng = random.Random(seed)
    gaps = [
        utility(config, choice.prompt, choice.first) - utility(config, choice.prompt, choice.second)
        for choice in choices
    ]
    return [ask(config, gap, votes, rng) for gap in gaps]


def ask_by_name(
    raters: Mapping[str, AnnotatorConfig], choices: Sequence[Choice], *, votes: int, seed: int
) -> list[dict[str, int]]:
    """Have every choice judged by some of several raters, drawn anew for each, who may be biased or careless.

    Args:
        raters: by name.
        choices: responses to prompts of the help desk, any strings.
        votes: raters of each choice.
        seed: who is asked, and what they say.

    Returns:
        In the order of the choices, by rater 1 for the first response or 2 for the second.
    """
    rng = random.Random(seed)
    names = list(raters)
    said = []
    for choice in choices:
        asked = {name: raters[name] for name in rng.sample(names, votes)}
        gaps = {
            name: utility(config, choice.prompt, choice.first) - utility(config, choice.prompt, choice.second)
            for name, config in asked.items()
        }
        said.append({name: 1 if ask(config, gaps[name], 1, rng).first else 2 for name, config in asked.items()})
    return said
