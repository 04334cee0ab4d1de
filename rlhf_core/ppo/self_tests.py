"""Self-tests of PPO: what must hold of ratio, KL, sampling and reward before the first update, whatever the data."""

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlhf_core.config.ppo import UpdateConfig
from rlhf_core.generation.rollout import Rollout, all_logprobs
from rlhf_core.models.known_answers import SelfTestError
from rlhf_core.objectives import kl_k3
from rlhf_core.ppo.experience import Experience
from rlhf_core.ppo.update import centred_advantages, reward_offset

TOLERANCE_NATS = {"float32": 1e-3, "bfloat16": 0.25}
"""How far the log-probability of a token may differ between two ways of computing it, by precision."""

SHIFT = 10.0
"""A constant in the reward that must change nothing."""

TOLERATED_SHARE = 1e-3
"""Of that constant, what rounding may leave in the returns."""


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
    change = float((torch.exp(second - first) - 1.0).abs().max())
    if not change <= tolerance:
        raise SelfTestError(
            f"self-test 'ratio is 1 on the first pass' failed: it is off by {change:.4g} (limit {tolerance}); "
            "dropout or another source of chance is active in the policy"
        )
    gap = float((first - rollout.logprobs).abs().max())
    if not gap <= tolerance:
        raise SelfTestError(
            f"self-test 'sampling log-probabilities equal teacher-forced ones' failed: they differ by up to {gap:.4g} "
            f"nats per token (limit {tolerance}); sampling and scoring disagree on padding, positions or temperature"
        )
    drift = float(kl_k3(rollout.logprobs, ref_logprobs, rollout.mask).mean())
    if not drift <= tolerance:
        raise SelfTestError(
            f"self-test 'KL to the reference is 0 before the first update' failed: it is {drift:.4g} nats per response "
            f"(limit {tolerance}); policy and reference are not the same SFT model"
        )


def check_engine(config: UpdateConfig, gap: Mapping[str, float]) -> None:
    """Test that an engine with a forward of its own samples from the policy.

    Args:
        config: precision.
        gap: what `roll_out` found; empty for an engine that has the trainer's forward.

    Raises:
        SelfTestError: if its log-probabilities are further off on average than precision explains.
    """
    tolerance = TOLERANCE_NATS[config.optimiser.precision]
    off = gap.get("rollout_logprob_gap_nats", 0.0)
    if not off <= tolerance:
        raise SelfTestError(
            f"self-test 'the engine samples from the policy' failed: its log-probabilities are off by {off:.4g} nats "
            f"per token (limit {tolerance}); set sampling.engine to eager, whose forward is the trainer's"
        )


def check_centring(config: UpdateConfig, experience: Experience, end_values: Tensor) -> None:
    """Test, before the first update, that a constant in the reward changes nothing.

    Args:
        config: discounts and the price of KL.
        experience: of the first rollout, whose reward was centred on it.
        end_values: what values say at the end of each response, shape ``[B]``.

    Raises:
        SelfTestError: if returns, and with them advantages, are others where all rewards are larger by a constant.
    """
    rollout, values = experience.rollout, experience.values
    shifted = experience.rewards.double() + SHIFT
    offset = reward_offset(shifted, end_values)
    _, returns = centred_advantages(config, rollout, shifted, experience.ref_logprobs, values, offset=offset)
    change = float((returns - experience.returns).abs().max())
    if not change <= TOLERATED_SHARE * SHIFT:
        raise SelfTestError(
            f"self-test 'a constant in the reward changes nothing' failed: {SHIFT:g} more moves returns by up to "
            f"{change:.4g} (limit {TOLERATED_SHARE * SHIFT:g}); the reward is not centred before the first update, or "
            "too large for the precision of its values"
        )
