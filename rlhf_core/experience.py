"""One PPO rollout as tensors: sampled responses with everything that the update needs to know about them.

B counts responses, T tokens of the longest response. Responses are left-aligned; a mask is True where a token is real.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.batching import lay
from rlhf_core.config.rollout import SamplingConfig
from rlhf_core.config.training import OptimiserConfig
from rlhf_core.models import (
    device,
    response_logprobs,
    response_logprobs_and_values,
    response_values,
    temperature,
)
from rlhf_core.parallel import together
from rlhf_core.rollout import OWN_FORWARD, Sampled, sample
from rlhf_core.text import Tree
from rlhf_core.training import precision


class Rollout(NamedTuple):
    """Sampled responses.

    Attributes:
        trees: each prompt with its one response.
        mask: real response tokens, shape ``[B, T]``, bool.
        logprobs: log-probabilities taken while sampling, shape ``[B, T]``, nats.
        finished: whether a response ended by itself, shape ``[B]``, bool.
    """

    trees: list[Tree]
    mask: Tensor
    logprobs: Tensor
    finished: Tensor


class Experience(NamedTuple):
    """A rollout with its rewards; tensors are ``[B, T]`` except those of rewards.

    Attributes:
        rollout: the sampled responses.
        scores: calibrated score of each response by the reward model, shape ``[B]``, logits.
        disagreement: of the reward model's members about it, shape ``[B]``, calibrated logits; NaN of a single head.
        ref_logprobs: under the SFT model, nats.
        values: when the responses were sampled.
        advantages: whitened over the whole rollout.
        returns: targets of the values.
        total: weighted sum of the scores and all further terms before the penalty, shape ``[B]``.
        terms: the further terms as they are, by name, each of shape ``[B]``.
    """

    rollout: Rollout
    scores: Tensor
    disagreement: Tensor
    ref_logprobs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor
    total: Tensor
    terms: Mapping[str, Tensor]


def as_rollout(sampled: Sequence[Sampled]) -> Rollout:
    """Lay sampled responses out as tensors on `device()`."""
    lengths = torch.tensor([len(response.response_ids) for response in sampled], device=device())
    mask = torch.arange(int(lengths.max()), device=device()) < lengths[:, None]
    flat = torch.tensor([value for response in sampled for value in response.logprobs], device=device())
    return Rollout(
        trees=[Tree(response.prompt_ids, [response.response_ids]) for response in sampled],
        mask=mask,
        logprobs=_spread(flat, mask),
        finished=torch.tensor([response.finished for response in sampled], device=device()),
    )


def roll_out(
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    sampling: SamplingConfig,
    config: OptimiserConfig,
    *,
    seed: int,
) -> tuple[Rollout, list[Sampled], dict[str, float]]:
    """Sample from a policy; the log-probabilities of the rollout are by the forward that the trainer differentiates.

    Those of an engine with a forward of its own are computed again. PPO's ratio compares the policy that learns with
    the one that it was, and must do so by one forward: against an engine's figures it would not start at 1, so tokens
    would be clipped and weighted for rounding, and estimates of KL would be off by it. What stays is that tokens were
    drawn from a distribution as far from the policy as the gap says.

    Args:
        policy: causal language model.
        tokenizer: its tokenizer.
        prompts: texts of the users.
        sampling: engine, temperature and limits.
        config: precision and token budget.
        seed: seed of the sampling.

    Returns:
        The rollout; the responses as they were sampled; and, of an engine with a forward of its own,
        `rollout_logprob_gap_nats`, the mean over sampled tokens of how far its log-probabilities are from the policy's,
        and `rollout_logprob_gap_nats_max`.
    """
    generator = torch.Generator().manual_seed(seed)
    with precision(config):
        sampled = sample(policy, tokenizer, prompts, sampling, generator=generator)
    rollout = as_rollout(sampled)
    if sampling.engine in OWN_FORWARD:
        return rollout, sampled, {}
    logprobs = all_logprobs(policy, rollout, config, sampling_temperature=sampling.temperature)
    gap = (logprobs - rollout.logprobs).abs()[rollout.mask]
    figures = {"rollout_logprob_gap_nats": float(gap.mean()), "rollout_logprob_gap_nats_max": float(gap.max())}
    return rollout._replace(logprobs=logprobs), sampled, figures


def policy_view(
    policy: PreTrainedModel, rollout: Rollout, rows: Sequence[int], *, sampling_temperature: float
) -> tuple[Tensor, Tensor]:
    """What a policy says about sampled tokens, with gradient.

    Args:
        policy: causal language model.
        rollout: the responses.
        rows: which of them, b in number.
        sampling_temperature: divides the logits, as it did in sampling.

    Returns:
        Log-probabilities of the tokens and entropies of the distributions they were drawn from, both ``[b, T]``, nats.
    """
    laid = lay([rollout.trees[row] for row in rows], device())
    logprobs, entropies = response_logprobs(policy, laid, sampling_temperature=sampling_temperature)
    mask = rollout.mask[list(rows)]
    return _spread(logprobs, mask), _spread(entropies, mask)


def value_view(value: PreTrainedModel, rollout: Rollout, rows: Sequence[int]) -> Tensor:
    """Values before each response token, shape ``[b, T]``, in units of calibrated reward, with gradient."""
    values = response_values(value, lay([rollout.trees[row] for row in rows], device()))
    return _spread(values, rollout.mask[list(rows)]) / temperature(value)


def joint_view(
    model: PreTrainedModel, rollout: Rollout, rows: Sequence[int], *, sampling_temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """`policy_view` and `value_view` of a policy with a value head, by one forward pass, each ``[b, T]``."""
    laid = lay([rollout.trees[row] for row in rows], device())
    logprobs, entropies, values = response_logprobs_and_values(model, laid, sampling_temperature=sampling_temperature)
    mask = rollout.mask[list(rows)]
    return _spread(logprobs, mask), _spread(entropies, mask), _spread(values, mask) / temperature(model)


@torch.inference_mode()
def all_logprobs(
    policy: PreTrainedModel, rollout: Rollout, config: OptimiserConfig, *, sampling_temperature: float
) -> Tensor:
    """Log-probabilities of all sampled tokens under a policy, shape ``[B, T]``, nats."""

    def read(reader: PreTrainedModel, rows: list[int]) -> Tensor:
        with precision(config):
            return policy_view(reader, rollout, rows, sampling_temperature=sampling_temperature)[0].cpu()

    return _all(policy, rollout, config, read)


@torch.inference_mode()
def all_values(value: PreTrainedModel, rollout: Rollout, config: OptimiserConfig) -> Tensor:
    """Values before all sampled tokens, shape ``[B, T]``, in units of calibrated reward."""

    def read(reader: PreTrainedModel, rows: list[int]) -> Tensor:
        with precision(config):
            return value_view(reader, rollout, rows).cpu()

    return _all(value, rollout, config, read)


def _all(
    model: PreTrainedModel,
    rollout: Rollout,
    config: OptimiserConfig,
    read: Callable[[PreTrainedModel, list[int]], Tensor],
) -> Tensor:
    """What is read on each response of a rollout, each on one rank."""
    found = together(model, [tree.size for tree in rollout.trees], config.max_tokens, lambda *of: read(*of).unbind())
    return torch.stack(found).to(device())


def _spread(flat: Tensor, mask: Tensor) -> Tensor:
    """Put values of real tokens, in row-major order, into the shape of the mask; 0 elsewhere."""
    return flat.new_zeros(mask.shape).masked_scatter(mask, flat)
