"""Proximal policy optimisation: where values come from, an update, and the whole of it."""

from typing import Literal

from pydantic import Field

from rlhf_core.config import Frozen
from rlhf_core.config.policy import PolicyConfig
from rlhf_core.config.training import OptimiserConfig


class SeparateValueConfig(Frozen):
    """A value model with weights of its own, started from the reward model, as in Stiennon et al. (2020).

    Learning values cannot disturb the policy, and each loss has its Adam, so that no coefficient weighs them.
    """

    kind: Literal["separate"] = "separate"
    optimiser: OptimiserConfig = OptimiserConfig(lr=5e-4, eps=1e-5, schedule="linear", warmup_share=0.0)
    """For the value model."""


class SharedTrunkConfig(Frozen):
    """The value is a linear head on the policy's trunk, which starts at 0, as in Ziegler et al. (2019).

    One step descends policy loss + `coef` * value loss, so that learning values moves the policy too. It costs one
    forward and backward pass instead of two, and the memory of one model instead of two.
    """

    kind: Literal["shared"] = "shared"
    coef: float = Field(0.1, gt=0)
    """Weight of the value loss; `vf_coef` in the source, with this value."""


class UpdateConfig(PolicyConfig):
    """What happens between one rollout and the next."""

    epochs: int = Field(2, ge=1)
    """Passes over a rollout. 4 in the source; 2 keep a small policy nearer to the one that sampled."""
    minibatch_size: int = Field(32, ge=1)
    """Responses in an optimiser step."""
    beta: float = Field(0.05, ge=0)
    """Price of one nat of KL to the SFT model, in calibrated reward."""
    gamma: float = Field(1.0, gt=0, le=1)
    """Discount: none, an answer is one episode."""
    lam: float = Field(0.95, ge=0, le=1)
    """Weight of longer returns in the advantages."""
    cliprange: float = Field(0.2, gt=0)
    """How far a token's probability ratio may leave 1."""
    cliprange_value: float = Field(0.2, gt=0)
    """How far a value may move in an update, in calibrated reward."""
    entropy_coef: float = Field(0.0, ge=0)
    """Worth of one nat of entropy per token in the policy loss."""
    missing_eos_penalty: float = Field(1.0, ge=0)
    """Taken from the score of a response that did not end by itself."""
    kl_to_rollout_limit_nats: float | None = Field(0.5, gt=0)
    """An update ends before the step of a minibatch whose KL to the policy that sampled, per response, passes this.
    None: no limit."""
    optimiser: OptimiserConfig = OptimiserConfig(lr=3e-4, eps=1e-5, schedule="linear", warmup_share=0.0)
    """For the policy; its precision and token budget hold for the frozen models too."""
    value: SeparateValueConfig | SharedTrunkConfig = Field(SeparateValueConfig(), discriminator="kind")
    """Where values come from."""


class PPOConfig(UpdateConfig):
    """PPO; where a value differs from Huang et al. (2024), its line says why."""

    method: Literal["ppo"] = "ppo"
    updates: int = Field(40, ge=1)
    """Rollouts, each followed by an update."""
    rollout_size: int = Field(128, ge=1)
    """Prompts answered in a rollout. 512 in the source."""
    kl_budget_nats: float | None = Field(6.0, gt=0)
    """Training stops once the upper bound of KL to the SFT model, per response on held-out prompts, passes this, and
    the result is the last evaluated state inside. None: no budget."""
    evaluate_every: int = Field(4, ge=1)
    """Updates between evaluations on held-out prompts."""
