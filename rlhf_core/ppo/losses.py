"""Losses of a PPO minibatch: clipped surrogate, entropy, KL and values."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from rlhf_core.config.ppo import UpdateConfig
from rlhf_core.distributed import LossFigures
from rlhf_core.objectives import kl_k3, kl_loss, masked_mean, ppo_policy_loss, ppo_value_loss
from rlhf_core.ppo.experience import Experience


@dataclass(frozen=True)
class Minibatch:
    """The responses of one optimiser step.

    A loss of some of them is their part of the mean over the minibatch: parts add up, on whichever ranks they were
    computed. So do the figures.

    Attributes:
        config: clipping, entropy, and beta where KL is paid for in the loss.
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

    def policy_loss(self, rows: list[int], logprobs: Tensor, entropies: Tensor) -> tuple[Tensor, LossFigures]:
        """Clipped surrogate loss of some rows, less the worth of their entropy, plus KL where it is paid for here.

        Args:
            rows: b rows of the experience.
            logprobs: of their tokens under the policy that learns, shape ``[b, T]``, nats.
            entropies: of the distributions, shape ``[b, T]``, nats.

        Returns:
            A scalar with gradient; `policy_loss`, `clipfrac`, `entropy_nats` per token, `kl_to_rollout_nats` per
            response; with `kl_in` loss also `kl_in_loss_nats` per token.
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
        loss = loss - self.config.entropy_coef * entropy_nats
        if self.config.kl_in == "loss":
            losses, nats = kl_loss(logprobs, old_logprobs, self.experience.ref_logprobs[rows], mask)
            figures["kl_in_loss_nats"] = masked_mean(nats, mask) * share
            loss = loss + self.config.beta * masked_mean(losses, mask)
        return loss * share, figures

    def value_loss(self, rows: list[int], values: Tensor) -> tuple[Tensor, LossFigures]:
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
