"""What PPO and DPO share: adapter, sampling, reward, and how a policy is evaluated."""

from typing import Self

from pydantic import Field, model_validator

from rlhf_core.config import Frozen
from rlhf_core.config.adapter import AdapterConfig
from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.reward import RewardConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.config.units import Answers, Prompts


class PolicyConfig(Frozen):
    """How the answers of a policy are drawn and measured, whatever trained it."""

    optimiser: OptimiserConfig = OptimiserConfig()
    """For the policy; its precision and token budget hold for the frozen models too."""
    adapter: AdapterConfig | None = None
    """Train an adapter on the SFT model, whose weights policy, reference and, where they can, all others share; it is
    merged at the end. None: all weights are trained."""
    sampling: SamplingConfig = SamplingConfig()
    """How answers are drawn, in training and for the figures."""
    evaluation_prompts: Prompts = Field(256, ge=2)
    """Held-out prompts that give the final figures; PPO watches as many others while it trains."""
    answers_per_prompt: Answers = Field(1, ge=1)
    """Answers drawn to each of the first 32 of them, besides the one to every prompt, to count repeats within a prompt.
    1 draws none."""
    reward: RewardConfig = RewardConfig()
    """What PPO maximises; whatever trained the policy, every term is measured."""
    best_of_n: Answers = Field(0, ge=0)
    """Answers of the SFT model drawn for each of these prompts, to say what choosing the best of n by the reward model
    gives at no more KL than the policy's; n is at most this. 0: no such baseline."""

    @model_validator(mode="after")
    def _samples_have_probabilities(self) -> Self:
        if self.sampling.temperature == 0:
            raise ValueError(
                "sampling.temperature 0 takes the likeliest token, whose log-probability says nothing of the policy; "
                "set it above 0"
            )
        return self
