"""What is climbed: settings, a change to the data, and faults that are put into stages."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args

from pydantic import Field

from benchmarks.common.climbs.data import Data
from flows.config.data import Shares
from rlhf_core.config import Frozen
from rlhf_core.config.base import PretrainConfig
from rlhf_core.config.dpo import DPOConfig
from rlhf_core.config.ppo import PPOConfig
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.config.sft import SFTConfig
from rlhf_core.embedded_world.data import WorldConfig

StageName = Literal["data", "base", "sft", "reward_model", "judge", "policy", "truth"]
STAGES: tuple[StageName, ...] = get_args(StageName)
"""In the order of the ladder; `data` only measures, `truth` asks the embedded world what a policy is worth."""
PARENTS: Mapping[StageName, tuple[StageName, ...]] = {
    "data": (),
    "base": (),
    "sft": ("base",),
    "reward_model": ("sft",),
    "judge": ("sft",),
    "policy": ("base", "sft", "reward_model", "judge"),
    "truth": ("sft", "reward_model", "judge", "policy"),
}
"""Stages whose models a stage may read."""


class Recipe(Frozen):
    """Settings of a climb, stage by stage as in a configuration file; the defaults are small enough for a bench.

    Attributes:
        seed: of the world and of every stage.
        world: sizes and annotators of the embedded world.
        shares: how its tables are divided.
    """

    seed: int = 1
    world: WorldConfig = WorldConfig(demonstrations=2600, preference_prompts=4400, prompts=3600)
    shares: Shares = Shares(test=0.15, judge=0.3)
    base: PretrainConfig = PretrainConfig()
    sft: SFTConfig = SFTConfig(evaluation_prompts=300)
    reward_model: RewardModelConfig = RewardModelConfig()
    judge: RewardModelConfig = RewardModelConfig()
    policy: Annotated[PPOConfig | DPOConfig, Field(discriminator="method")] = PPOConfig(
        updates=20, rollout_size=128, beta=0.15, kl_budget_nats=3.5
    )

    def having(self, settings: Mapping[str, Any]) -> Self:
        """These settings but for some.

        Args:
            settings: values by dotted field, such as `policy.beta`.

        Raises:
            pydantic.ValidationError: if a field is unknown or a value is not allowed.
        """
        changed = self.model_dump(mode="json")
        for dotted, value in settings.items():
            *parents, leaf = dotted.split(".")
            section = changed
            for name in parents:
                section = section[name]
            section[leaf] = value
        return self.model_validate(changed)


class Change(NamedTuple):
    """Something that happens to the data before any stage reads them.

    Attributes:
        name: enters the keys of all stages that read what it changes, by the content of that.
        apply: of the data and the seed of the climb, the changed data; importable, so that other processes find it.
    """

    name: str
    apply: Callable[[Data, int], Data]


class Fault(NamedTuple):
    """A mistake in the code of one stage, there while that stage runs.

    Attributes:
        stage: where it sits; other stages do not have it.
        name: enters the key of the stage.
        active: of the folders of the stage's parents, a context in which the mistake is there; importable.
    """

    stage: StageName
    name: str
    active: Callable[[Mapping[StageName, Path]], AbstractContextManager[None]]


class Climb(NamedTuple):
    """One climb of the ladder; its stages are trained whatever gates say.

    Attributes:
        name: for people; two climbs with the same rest are the same climb.
    """

    name: str
    recipe: Recipe
    change: Change | None = None
    faults: tuple[Fault, ...] = ()
