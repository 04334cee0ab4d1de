"""One PPO update: from sampled responses to rewards and advantages, then clipped steps until KL or epochs run out."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor
from transformers import PreTrainedModel

from rlhf_core.config.ppo import UpdateConfig
from rlhf_core.data.batching import shuffled_batches
from rlhf_core.data.tokenizer import Tree
from rlhf_core.generation.rollout import Rollout, all_logprobs
from rlhf_core.models.precision import check_finite
from rlhf_core.models.scoring import Scores
from rlhf_core.objectives import estimate_advantages, explained_variance, kl_k1, kl_k3, shaped_rewards, whiten
from rlhf_core.ppo.actor_critic import ActorCritic, SeparateValue
from rlhf_core.ppo.experience import Experience
from rlhf_core.ppo.losses import Minibatch
from rlhf_core.rewards.reward import SCORE, Reward, disagreement_of, penalise_unfinished


def compute_advantages(
    config: UpdateConfig,
    rollout: Rollout,
    *,
    reference: PreTrainedModel,
    scores: Scores,
    values: Tensor,
    reward: Reward,
    terms: Mapping[str, Tensor],
    offset: float | Tensor,
) -> Experience:
    """Turn what is said of a rollout into rewards, and estimate its advantages.

    The reward is centred before the price of KL is taken off: values start at 0, or where the reward model is, and
    learn slowly, and until they have learned it a constant in the reward is credited to the last tokens (lambda < 1),
    so that short answers pay, or long ones.

    Args:
        config: beta, discounts and penalty.
        rollout: sampled responses.
        reference: the frozen SFT model.
        scores: what the frozen reward model says of the responses.
        values: before each sampled token as they are now, shape ``[B, T]``, calibrated reward.
        reward: the sum that is maximised; the rollout counts among those that it has seen.
        terms: what its further terms say of the responses, by name, each of shape ``[B]``.
        offset: what is taken off the reward of every response; or, before the first update, whose rollout tells it,
            what values say at the end of each response, shape ``[B]``.

    Returns:
        Everything that the update learns from.

    Raises:
        NotFiniteError: if a reward is no number.
    """
    score, disagreement = scores.score, disagreement_of(config.reward, scores, terms)
    ref_logprobs = all_logprobs(reference, rollout, config.optimiser, sampling_temperature=config.sampling.temperature)
    total = reward.combine({SCORE: score, **terms})
    rewards = penalise_unfinished(total, rollout.finished, missing_eos_penalty=config.missing_eos_penalty)
    check_finite("rewards of responses", rewards)
    if isinstance(offset, Tensor):
        offset = reward_offset(rewards, offset)
    advantages, returns = centred_advantages(config, rollout, rewards, ref_logprobs, values, offset=offset)
    whitened = whiten(advantages, rollout.mask)
    return Experience(
        rollout, score, disagreement, ref_logprobs, values, whitened, returns, total, terms, rewards, offset
    )


def reward_offset(rewards: Tensor, end_values: Tensor) -> float:
    """By how much rewards lie above what values say at the end of the same responses, both ``[B]``, on average.

    0 where values start as the reward model and nothing else is in the reward; the mean reward where they start at 0.
    """
    return float((rewards.double() - end_values.double()).mean())


def centred_advantages(
    config: UpdateConfig, rollout: Rollout, rewards: Tensor, ref_logprobs: Tensor, values: Tensor, *, offset: float
) -> tuple[Tensor, Tensor]:
    """Advantages and returns of a rollout by its rewards less a constant and the price of KL, each ``[B, T]``."""
    centred = (rewards.double() - offset).to(values.dtype)
    beta = config.beta if config.kl_in == "reward" else 0.0
    by_token = shaped_rewards(centred, rollout.logprobs, ref_logprobs, rollout.mask, beta=beta)
    return estimate_advantages(by_token, values, rollout.mask, gamma=config.gamma, lam=config.lam)


def update(
    config: UpdateConfig,
    actor_critic: ActorCritic,
    experience: Experience,
    *,
    seed: int,
    demonstrations: Sequence[Tree] = (),
) -> dict[str, float]:
    """Take clipped steps on policy and values until the epochs or the KL limit end the update.

    Args:
        config: epochs, clipping and limit.
        actor_critic: policy and values, changed in place.
        experience: what to learn from.
        seed: seed of the minibatches of this update.
        demonstrations: of which a minibatch goes with each step, by weight `ptx_coef`; none to leave them out.

    Returns:
        `policy_loss`, `value_loss`, `clipfrac`, `entropy_nats` per token and `kl_to_rollout_nats` per response, each a
        mean over the minibatches that were stepped on; `epochs_done`, a fraction where the KL limit ended the update.
        With demonstrations also `ptx_loss_nats`, with `kl_in` loss `kl_in_loss_nats`, both per token.
    """
    mixed = _mixed(config, demonstrations, seed=seed)
    totals: dict[str, float] = {}
    steps, kl_max = 0, 0.0
    limit = config.kl_to_rollout_limit_nats
    for rows in _minibatches(config, len(experience.scores), seed=seed):
        metrics = actor_critic.accumulate(Minibatch(config, experience, rows))
        kl_max = max(metrics["kl_to_rollout_nats"], kl_max)  # in this order a NaN stays visible
        if limit is not None and not metrics["kl_to_rollout_nats"] <= limit:
            break
        if demonstrations:
            metrics |= actor_critic.add_demonstrations(next(mixed), coef=config.ptx_coef)
        actor_critic.step()
        steps += 1
        for name, value in metrics.items():
            totals[name] = totals.get(name, 0.0) + value
    per_epoch = -(-len(experience.scores) // config.minibatch_size)
    means = {name: value / max(steps, 1) for name, value in totals.items()}
    return {**means, "kl_to_rollout_nats_max": kl_max, "epochs_done": steps / per_epoch}


def warm_up(config: UpdateConfig, actor_critic: ActorCritic, experience: Experience, *, seed: int) -> dict[str, float]:
    """Take the steps of an update on the values only, which need a model of their own for that.

    Args as in `update`.

    Returns:
        `value_loss`, mean over the minibatches, and `epochs_done`.

    Raises:
        TypeError: if the values share the policy's trunk, which could not stay where it is.
    """
    if not isinstance(actor_critic, SeparateValue):
        raise TypeError("values on the policy's trunk cannot learn alone: set value.kind to separate")
    losses = []
    for rows in _minibatches(config, len(experience.scores), seed=seed):
        losses.append(actor_critic.accumulate_values(Minibatch(config, experience, rows))["value_loss"])
        actor_critic.value_optimiser.step()
    return {"value_loss": sum(losses) / len(losses), "epochs_done": float(config.epochs)}


def rollout_metrics(experience: Experience) -> dict[str, float]:
    """Figures of a rollout: KL to SFT by both estimators, parts of the reward, ends, lengths, fit of the values.

    The parts of the reward are as they are said, before the offset is taken off.

    `reward_disagreement`, the mean over responses, only where the reward model is an ensemble.
    """
    rollout = experience.rollout
    disagreement = float(experience.disagreement.mean())
    return {
        "kl_to_sft_nats": float(kl_k1(rollout.logprobs, experience.ref_logprobs, rollout.mask).mean()),
        "kl_to_sft_nats_k3": float(kl_k3(rollout.logprobs, experience.ref_logprobs, rollout.mask).mean()),
        "reward_score": float(experience.scores.mean()),
        **({} if math.isnan(disagreement) else {"reward_disagreement": disagreement}),
        **{f"reward_{name}": float(values.mean()) for name, values in experience.terms.items()},
        "reward_total": float(experience.total.mean()),
        "reward_offset": experience.offset,
        "eos_rate": float(rollout.finished.float().mean()),
        "response_tokens": float(rollout.mask.sum(dim=1).float().mean()),
        "explained_variance": float(explained_variance(experience.values, experience.returns, rollout.mask)),
    }


def _minibatches(config: UpdateConfig, size: int, *, seed: int) -> Iterator[list[int]]:
    for epoch in range(config.epochs):
        yield from shuffled_batches(size, config.minibatch_size, epoch=epoch, seed=seed)


def _mixed(config: UpdateConfig, demonstrations: Sequence[Tree], *, seed: int) -> Iterator[list[Tree]]:
    """Minibatches of demonstrations without end, in an order of their own for each update."""
    for epoch in itertools.count():
        for rows in shuffled_batches(len(demonstrations), config.minibatch_size, epoch=epoch, seed=seed):
            yield [demonstrations[row] for row in rows]
