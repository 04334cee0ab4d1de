"""One PPO rollout as tensors: sampled responses with everything that the update needs to know about them.

B counts responses, T tokens of the longest response. Responses are left-aligned; a mask is True where a token is real.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlhf_core.batching import pad, response_mask, token_batches
from rlhf_core.models import device, response_logits, temperature, token_scores
from rlhf_core.objectives import entropy, token_logprobs
from rlhf_core.rollout import Sampled
from rlhf_core.training import OptimiserConfig, precision


class Rollout(NamedTuple):
    """Sampled responses.

    Attributes:
        sequences: ids of each prompt followed by its response.
        prompt_lengths: count of the prompt ids of each sequence.
        mask: real response tokens, shape ``[B, T]``, bool.
        logprobs: log-probabilities taken while sampling, shape ``[B, T]``, nats.
        finished: whether a response ended by itself, shape ``[B]``, bool.
    """

    sequences: list[list[int]]
    prompt_lengths: list[int]
    mask: Tensor
    logprobs: Tensor
    finished: Tensor


def as_rollout(sampled: Sequence[Sampled]) -> Rollout:
    """Lay sampled responses out as tensors on `device()`."""
    mask = pad([response.response_ids for response in sampled], 0, device()).mask
    flat = torch.tensor([value for response in sampled for value in response.logprobs], device=device())
    return Rollout(
        sequences=[response.prompt_ids + response.response_ids for response in sampled],
        prompt_lengths=[len(response.prompt_ids) for response in sampled],
        mask=mask,
        logprobs=_spread(flat, mask),
        finished=torch.tensor([response.finished for response in sampled], device=device()),
    )


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
    batch = pad([rollout.sequences[row] for row in rows], int(policy.config.pad_token_id), device())
    is_response = response_mask(batch, [rollout.prompt_lengths[row] for row in rows])
    logits = response_logits(policy, batch, is_response) / sampling_temperature
    mask = rollout.mask[list(rows)]
    return _spread(token_logprobs(logits, batch.ids[is_response]), mask), _spread(entropy(logits), mask)


def value_view(value: PreTrainedModel, rollout: Rollout, rows: Sequence[int]) -> Tensor:
    """Values before each response token, shape ``[b, T]``, in units of calibrated reward, with gradient."""
    batch = pad([rollout.sequences[row] for row in rows], int(value.config.pad_token_id), device())
    is_response = response_mask(batch, [rollout.prompt_lengths[row] for row in rows])
    values = token_scores(value, batch)[:, :-1][is_response[:, 1:]].float()
    return _spread(values, rollout.mask[list(rows)]) / temperature(value)


@torch.inference_mode()
def all_logprobs(
    policy: PreTrainedModel, rollout: Rollout, config: OptimiserConfig, *, sampling_temperature: float
) -> Tensor:
    """Log-probabilities of all sampled tokens under a policy, shape ``[B, T]``, nats."""
    logprobs = torch.zeros_like(rollout.logprobs)
    for rows in token_batches([len(sequence) for sequence in rollout.sequences], config.max_tokens):
        with precision(config):
            logprobs[rows] = policy_view(policy, rollout, rows, sampling_temperature=sampling_temperature)[0]
    return logprobs


@torch.inference_mode()
def all_values(value: PreTrainedModel, rollout: Rollout, config: OptimiserConfig) -> Tensor:
    """Values before all sampled tokens, shape ``[B, T]``, in units of calibrated reward."""
    values = torch.zeros_like(rollout.logprobs)
    for rows in token_batches([len(sequence) for sequence in rollout.sequences], config.max_tokens):
        with precision(config):
            values[rows] = value_view(value, rollout, rows)
    return values


def _spread(flat: Tensor, mask: Tensor) -> Tensor:
    """Put values of real tokens, in row-major order, into the shape of the mask; 0 elsewhere."""
    return flat.new_zeros(mask.shape).masked_scatter(mask, flat)
