"""One PPO update: from sampled responses to rewards and advantages, then clipped steps until KL or epochs run out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from transformers import PreTrainedModel

from rlhf_core.batching import shuffled_batches
from rlhf_core.config import Frozen
from rlhf_core.experience import Rollout, all_logprobs, all_values, policy_view, value_view
from rlhf_core.objectives import (
    estimate_advantages,
    explained_variance,
    kl_k1,
    kl_k3,
    masked_mean,
    ppo_policy_loss,
    ppo_value_loss,
    shaped_rewards,
    whiten,
)
from rlhf_core.parallel import Figures
from rlhf_core.rewards import penalise_unfinished, score_trees
from rlhf_core.rollout import SamplingConfig
from rlhf_core.training import Optimiser, OptimiserConfig, precision

TOLERANCE_NATS = {"float32": 1e-3, "bfloat16": 0.25}
"""How far the log-probability of a token may differ between two ways of computing it, by precision."""


class SelfTestError(RuntimeError):
    """A quantity that is known before the first update has another value: training would be wrong from the start."""


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
    """For the policy; its precision and token budget hold for all models."""
    value_optimiser: OptimiserConfig = OptimiserConfig(lr=5e-4, eps=1e-5, schedule="linear", warmup_share=0.0)
    """For the value model. It shares no weights with the policy and has its own Adam, so there is no `vf_coef`."""
    sampling: SamplingConfig = SamplingConfig()


class Experience(NamedTuple):
    """A rollout with its rewards; tensors are ``[B, T]`` except `scores`.

    Attributes:
        rollout: the sampled responses.
        scores: calibrated reward of each response before the penalty, shape ``[B]``, logits.
        ref_logprobs: under the SFT model, nats.
        values: when the responses were sampled.
        advantages: whitened over the whole rollout.
        returns: targets of the values.
    """

    rollout: Rollout
    scores: Tensor
    ref_logprobs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor


@dataclass(frozen=True)
class Learner:
    """The two models that learn, with their optimisers."""

    policy: PreTrainedModel
    policy_optimiser: Optimiser
    value: PreTrainedModel
    value_optimiser: Optimiser


def gather(
    config: UpdateConfig,
    rollout: Rollout,
    *,
    reference: PreTrainedModel,
    reward_model: PreTrainedModel,
    value: PreTrainedModel,
) -> Experience:
    """Score a rollout and estimate its advantages.

    Args:
        config: beta, discounts and penalty.
        rollout: sampled responses.
        reference: the frozen SFT model.
        reward_model: the frozen reward model.
        value: the value model as it is now.

    Returns:
        Everything that the update learns from.
    """
    scores = score_trees(reward_model, rollout.trees, config.optimiser)
    ref_logprobs = all_logprobs(reference, rollout, config.optimiser, sampling_temperature=config.sampling.temperature)
    values = all_values(value, rollout, config.value_optimiser)
    penalised = penalise_unfinished(scores, rollout.finished, missing_eos_penalty=config.missing_eos_penalty)
    rewards = shaped_rewards(penalised, rollout.logprobs, ref_logprobs, rollout.mask, beta=config.beta)
    advantages, returns = estimate_advantages(rewards, values, rollout.mask, gamma=config.gamma, lam=config.lam)
    return Experience(rollout, scores, ref_logprobs, values, whiten(advantages, rollout.mask), returns)


def update(config: UpdateConfig, learner: Learner, experience: Experience, *, seed: int) -> dict[str, float]:
    """Take clipped steps on policy and value model until the epochs or the KL limit end the update.

    Args:
        config: epochs, clipping and limit.
        learner: models and optimisers, changed in place.
        experience: what to learn from.
        seed: seed of the minibatches of this update.

    Returns:
        `policy_loss`, `value_loss`, `clipfrac`, `entropy_nats` per token and `kl_to_rollout_nats` per response, each a
        mean over the minibatches that were stepped on; `epochs_done`, a fraction where the KL limit ended the update.
    """
    totals: dict[str, float] = {}
    taken, reached = 0, 0.0
    limit = config.kl_to_rollout_limit_nats
    for rows in _minibatches(config, len(experience.scores), seed=seed):
        metrics = _accumulate(config, learner, experience, rows)
        reached = max(metrics["kl_to_rollout_nats"], reached)  # in this order a NaN stays visible
        if limit is not None and not metrics["kl_to_rollout_nats"] <= limit:
            break
        learner.policy_optimiser.step()
        learner.value_optimiser.step()
        taken += 1
        for name, value in metrics.items():
            totals[name] = totals.get(name, 0.0) + value
    per_epoch = -(-len(experience.scores) // config.minibatch_size)
    means = {name: value / max(taken, 1) for name, value in totals.items()}
    return {**means, "kl_to_rollout_nats_max": reached, "epochs_done": taken / per_epoch}


def check_first_pass(config: UpdateConfig, policy: PreTrainedModel, rollout: Rollout, ref_logprobs: Tensor) -> None:
    """Test, before the first update, what must hold whatever the data.

    Args:
        config: precision and temperature.
        policy: still equal to the SFT model.
        rollout: its responses.
        ref_logprobs: log-probabilities of their tokens under the reference, shape ``[B, T]``, nats.

    Raises:
        SelfTestError: naming the test that failed, the figure and the likely cause.
    """
    tolerance = TOLERANCE_NATS[config.optimiser.precision]
    first, second = (
        all_logprobs(policy, rollout, config.optimiser, sampling_temperature=config.sampling.temperature)
        for _ in range(2)
    )
    moved = float((torch.exp(second - first) - 1.0).abs().max())
    if not moved <= tolerance:
        raise SelfTestError(
            f"self-test 'ratio is 1 on the first pass' failed: it is off by {moved:.4g} (limit {tolerance}); "
            "dropout or another source of chance is active in the policy"
        )
    off = float((first - rollout.logprobs).abs().max())
    if not off <= tolerance:
        raise SelfTestError(
            f"self-test 'sampling log-probabilities equal teacher-forced ones' failed: they differ by up to {off:.4g} "
            f"nats per token (limit {tolerance}); sampling and scoring disagree on padding, positions or temperature"
        )
    drift = float(kl_k3(rollout.logprobs, ref_logprobs, rollout.mask).mean())
    if not drift <= tolerance:
        raise SelfTestError(
            f"self-test 'KL to the reference is 0 before the first update' failed: it is {drift:.4g} nats per response "
            f"(limit {tolerance}); policy and reference are not the same SFT model"
        )


def rollout_metrics(experience: Experience) -> dict[str, float]:
    """Figures of a rollout: KL to SFT by both estimators, scores, ends, lengths, fit of the values."""
    rollout = experience.rollout
    return {
        "kl_to_sft_nats": float(kl_k1(rollout.logprobs, experience.ref_logprobs, rollout.mask).mean()),
        "kl_to_sft_nats_k3": float(kl_k3(rollout.logprobs, experience.ref_logprobs, rollout.mask).mean()),
        "reward_score": float(experience.scores.mean()),
        "eos_rate": float(rollout.finished.float().mean()),
        "response_tokens": float(rollout.mask.sum(dim=1).float().mean()),
        "explained_variance": float(explained_variance(experience.values, experience.returns, rollout.mask)),
    }


def _minibatches(config: UpdateConfig, size: int, *, seed: int) -> Iterator[list[int]]:
    for epoch in range(config.epochs):
        yield from shuffled_batches(size, config.minibatch_size, epoch=epoch, seed=seed)


def _accumulate(
    config: UpdateConfig, learner: Learner, experience: Experience, rows: Sequence[int]
) -> dict[str, float]:
    """Set the gradients of both models to those of one minibatch; nothing is stepped on yet."""
    rollout = experience.rollout
    sizes = [rollout.trees[row].size for row in rows]
    tokens = int(rollout.mask[list(rows)].sum())

    def policy_loss(policy: PreTrainedModel, group: list[int]) -> tuple[Tensor, Figures]:
        chosen = [rows[place] for place in group]
        loss, measured = _policy_loss(config, policy, experience, chosen)
        share = rollout.mask[chosen].sum() / tokens
        weights = {name: share for name in measured} | {"kl_to_rollout_nats": len(group) / len(rows)}
        return loss * share, {name: value * weights[name] for name, value in measured.items()}

    def value_loss(value: PreTrainedModel, group: list[int]) -> tuple[Tensor, Figures]:
        chosen = [rows[place] for place in group]
        loss = _value_loss(config, value, experience, chosen) * rollout.mask[chosen].sum() / tokens
        return loss, {"value_loss": loss.detach()}

    of_policy = learner.policy_optimiser.accumulate(sizes, policy_loss)
    return of_policy | learner.value_optimiser.accumulate(sizes, value_loss)


def _policy_loss(
    config: UpdateConfig, policy: PreTrainedModel, experience: Experience, rows: list[int]
) -> tuple[Tensor, dict[str, Tensor]]:
    rollout, mask = experience.rollout, experience.rollout.mask[rows]
    with precision(config.optimiser):
        logprobs, entropies = policy_view(policy, rollout, rows, sampling_temperature=config.sampling.temperature)
    old_logprobs = rollout.logprobs[rows]
    loss, clipfrac = ppo_policy_loss(
        logprobs, old_logprobs, experience.advantages[rows], mask, cliprange=config.cliprange
    )
    entropy_nats = masked_mean(entropies, mask)
    kl = kl_k3(old_logprobs, logprobs.detach(), mask).mean()
    measured = {"policy_loss": loss, "clipfrac": clipfrac, "entropy_nats": entropy_nats, "kl_to_rollout_nats": kl}
    return loss - config.entropy_coef * entropy_nats, {name: value.detach() for name, value in measured.items()}


def _value_loss(config: UpdateConfig, value: PreTrainedModel, experience: Experience, rows: list[int]) -> Tensor:
    with precision(config.value_optimiser):
        values = value_view(value, experience.rollout, rows)
    return ppo_value_loss(
        values,
        experience.values[rows],
        experience.returns[rows],
        experience.rollout.mask[rows],
        cliprange_value=config.cliprange_value,
    )
