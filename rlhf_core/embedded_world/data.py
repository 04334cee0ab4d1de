"""The datasets of the help desk, drawn at random: demonstrations, preferences and prompts."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from rlhf_core.config import Frozen
from rlhf_core.config.units import Prompts, ResponseCount
from rlhf_core.embedded_world import grammar
from rlhf_core.embedded_world.annotators import AnnotatorConfig, utility, vote
from rlhf_core.embedded_world.writers import ANNOTATED, ANNOTATED_SHARES, DEMONSTRATOR, write_answer

SOURCE = "helpdesk"


class WorldConfig(Frozen):
    """Sizes of the embedded world's datasets and who labels them."""

    kind: Literal["embedded"] = "embedded"
    """Data of the embedded world, drawn anew by `seed`."""
    demonstrations: Prompts = Field(3600, ge=10)
    """Prompts with a written answer, before splitting."""
    preference_prompts: Prompts = Field(11_000, ge=10)
    """Prompts with several answers, all compared with one another, before splitting."""
    responses_per_prompt: ResponseCount = Field(4, ge=2, le=100)
    """Answers compared for each prompt; n answers make n (n - 1) / 2 pairs."""
    prompts: Prompts = Field(6000, ge=10)
    """Prompts for PPO and for the evaluation of policies, before splitting."""
    annotators: AnnotatorConfig = AnnotatorConfig()
    """Who votes on the pairs."""

    @model_validator(mode="after")
    def _prompts_suffice(self) -> Self:
        available = len(grammar.prompts())
        for name in ("demonstrations", "preference_prompts", "prompts"):
            if getattr(self, name) > available:
                raise ValueError(
                    f"the help desk has {available} prompts, fewer than {name} {getattr(self, name)}: lower it"
                )
        return self


@dataclass(frozen=True)
class WorldData:
    """Rows of the three datasets; `group` is the prompt, by which splits keep train and test apart."""

    demonstrations: list[dict[str, Any]]
    preferences: list[dict[str, Any]]
    prompts: list[dict[str, Any]]


def generate(config: WorldConfig, *, seed: int) -> WorldData:
    """Draw demonstrations, preferences and prompts; a prompt appears at most once in each.

    Args:
        config: sizes and annotators.
        seed: seed of every draw; the same seed gives the same rows.

    Returns:
        The rows, in the columns of the data contracts.
    """
    available = sorted(grammar.prompts())
    rng = random.Random(seed)
    return WorldData(
        demonstrations=[_demonstration(prompt, rng) for prompt in rng.sample(available, config.demonstrations)],
        preferences=[
            row for prompt in rng.sample(available, config.preference_prompts) for row in _compare(config, prompt, rng)
        ],
        prompts=[_keyed(prompt) for prompt in rng.sample(available, config.prompts)],
    )


def _keyed(prompt: str) -> dict[str, Any]:
    return {"prompt": prompt, "group": prompt, "source": SOURCE}


def _demonstration(prompt: str, rng: random.Random) -> dict[str, Any]:
    return {**_keyed(prompt), "response": write_answer(grammar.prompts()[prompt], DEMONSTRATOR, rng)}


def _compare(config: WorldConfig, prompt: str, rng: random.Random) -> list[dict[str, Any]]:
    request = grammar.prompts()[prompt]
    writers = rng.choices(ANNOTATED, ANNOTATED_SHARES, k=config.responses_per_prompt)
    responses = dict.fromkeys(write_answer(request, habits, rng) for habits in writers)
    worth = {response: utility(config.annotators, prompt, response) for response in responses}
    return [_pair(config, prompt, pair, rng) for pair in combinations(worth.items(), 2)]


def _pair(config: WorldConfig, prompt: str, pair: Sequence[tuple[str, float]], rng: random.Random) -> dict[str, Any]:
    """The votes on two responses, each with its utility."""
    (first, first_worth), (second, second_worth) = pair
    votes = vote(config.annotators, first_worth - second_worth, rng)
    chosen, rejected = (first, second) if votes.first > votes.second else (second, first)
    counts = {"votes_chosen": max(votes), "votes_rejected": min(votes)}
    return {**_keyed(prompt), "chosen": chosen, "rejected": rejected, **counts}
