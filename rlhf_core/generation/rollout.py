"""Sampled responses as tensors with the log-probabilities of the trainer."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.data.packing import lay
from rlhf_core.data.tokenizer import Tree
from rlhf_core.distributed import together
from rlhf_core.generation.sampling import OWN_FORWARD, Sampled, sample
from rlhf_core.models.forward import response_logprobs
from rlhf_core.models.precision import device, precision


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


def as_rollout(sampled: Sequence[Sampled]) -> Rollout:
    """Lay sampled responses out as tensors on `device()`."""
    lengths = torch.tensor([len(response.response_ids) for response in sampled], device=device())
    mask = torch.arange(int(lengths.max()), device=device()) < lengths[:, None]
    flat = torch.tensor([value for response in sampled for value in response.logprobs], device=device())
    return Rollout(
        trees=[Tree(response.prompt_ids, [response.response_ids]) for response in sampled],
        mask=mask,
        logprobs=as_grid(flat, mask),
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
    return as_grid(logprobs, mask), as_grid(entropies, mask)


@torch.inference_mode()
def all_logprobs(
    policy: PreTrainedModel, rollout: Rollout, config: OptimiserConfig, *, sampling_temperature: float
) -> Tensor:
    """Log-probabilities of all sampled tokens under a policy, shape ``[B, T]``, nats."""

    def read(reader: PreTrainedModel, rows: list[int]) -> Tensor:
        with precision(config):
            return policy_view(reader, rollout, rows, sampling_temperature=sampling_temperature)[0].cpu()

    return read_responses(policy, rollout, config, read)


def read_responses(
    model: PreTrainedModel,
    rollout: Rollout,
    config: OptimiserConfig,
    read: Callable[[PreTrainedModel, list[int]], Tensor],
) -> Tensor:
    """Read something on each response of a rollout, batch by batch, each response on one rank.

    Args:
        model: read by; put together first where it is sharded.
        rollout: B responses.
        config: tokens of a batch.
        read: of model and rows, values of these rows, shape ``[b, T]``.

    Returns:
        The values of all responses, shape ``[B, T]``, on the device.
    """
    sizes = [tree.size for tree in rollout.trees]
    values = together(model, sizes, config.max_tokens, lambda *of: read(*of).unbind())
    return torch.stack(values).to(device())


def as_grid(flat: Tensor, mask: Tensor) -> Tensor:
    """Put values of real tokens, in row-major order, into the shape of the mask; 0 elsewhere."""
    return flat.new_zeros(mask.shape).masked_scatter(mask, flat)
