"""What a PPO update minimises: its settings, and the losses of a minibatch."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from pydantic import Field
from torch import Tensor

from rlhf_core.config import Frozen
from rlhf_core.experience import Experience
from rlhf_core.objectives import kl_k3, masked_mean, ppo_policy_loss, ppo_value_loss
from rlhf_core.parallel import Figures
from rlhf_core.rollout import SamplingConfig
from rlhf_core.training import OptimiserConfig


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


class UpdateConfig(Frozen):
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
    sampling: SamplingConfig = SamplingConfig()


@dataclass(frozen=True)
class Minibatch:
    """The responses of one optimiser step.

    A loss of some of them is their part of the mean over the minibatch: parts add up, on whichever ranks they were
    computed. So do the figures.

    Attributes:
        config: clipping and entropy.
        experience: where the responses are.
        rows: which of them.
    """

    config: UpdateConfig
    experience: Experience
    rows: Sequence[int]

    @property
    def sizes(self) -> list[int]:
        """Tokens of each response with its prompt."""
        return [self.experience.rollout.trees[row].size for row in self.rows]

    @cached_property
    def _tokens(self) -> Tensor:
        return self.experience.rollout.mask[list(self.rows)].sum()

    def policy_loss(self, rows: list[int], logprobs: Tensor, entropies: Tensor) -> tuple[Tensor, Figures]:
        """Clipped surrogate loss of some rows, less the worth of their entropy.

        Args:
            rows: b rows of the experience.
            logprobs: of their tokens under the policy that learns, shape ``[b, T]``, nats.
            entropies: of the distributions, shape ``[b, T]``, nats.

        Returns:
            A scalar with gradient; `policy_loss`, `clipfrac`, `entropy_nats` per token, `kl_to_rollout_nats` per
            response.
        """
        mask, old_logprobs = self.experience.rollout.mask[rows], self.experience.rollout.logprobs[rows]
        advantages, share = self.experience.advantages[rows], mask.sum() / self._tokens
        loss, clipfrac = ppo_policy_loss(logprobs, old_logprobs, advantages, mask, cliprange=self.config.cliprange)
        entropy_nats = masked_mean(entropies, mask)
        figures = {
            "policy_loss": loss.detach() * share,
            "clipfrac": clipfrac * share,
            "entropy_nats": entropy_nats.detach() * share,
            "kl_to_rollout_nats": kl_k3(old_logprobs, logprobs.detach(), mask).sum() / len(self.rows),
        }
        return (loss - self.config.entropy_coef * entropy_nats) * share, figures

    def value_loss(self, rows: list[int], values: Tensor) -> tuple[Tensor, Figures]:
        """Clipped squared error of some rows.

        Args:
            rows: b rows of the experience.
            values: before their tokens, shape ``[b, T]``, calibrated reward.

        Returns:
            A scalar with gradient; `value_loss`.
        """
        mask = self.experience.rollout.mask[rows]
        loss = ppo_value_loss(
            values,
            self.experience.values[rows],
            self.experience.returns[rows],
            mask,
            cliprange_value=self.config.cliprange_value,
        )
        loss = loss * mask.sum() / self._tokens
        return loss, {"value_loss": loss.detach()}
