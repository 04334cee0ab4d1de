"""One PPO rollout as tensors: sampled responses with everything that the update needs to know about them.

B counts responses, T tokens of the longest response. Responses are left-aligned; a mask is True where a token is real.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.data.packing import lay
from rlhf_core.generation.rollout import Rollout, as_grid, read_rollout
from rlhf_core.models.forward import response_logprobs_and_values, response_values
from rlhf_core.models.heads import temperature
from rlhf_core.models.precision import device, precision


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
        rewards: the total less the penalty, before the offset and the price of KL are taken off, shape ``[B]``.
        offset: the constant that is taken off them.
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
    rewards: Tensor
    offset: float


def value_view(value: PreTrainedModel, rollout: Rollout, rows: Sequence[int]) -> Tensor:
    """Values before each response token, shape ``[b, T]``, in units of calibrated reward, with gradient."""
    values = response_values(value, lay([rollout.trees[row] for row in rows], device()))
    return as_grid(values, rollout.mask[list(rows)]) / temperature(value)


def joint_view(
    model: PreTrainedModel, rollout: Rollout, rows: Sequence[int], *, sampling_temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """`policy_view` and `value_view` of a policy with a value head, by one forward pass, each ``[b, T]``."""
    batch = lay([rollout.trees[row] for row in rows], device())
    logprobs, entropies, values = response_logprobs_and_values(model, batch, sampling_temperature=sampling_temperature)
    mask = rollout.mask[list(rows)]
    return as_grid(logprobs, mask), as_grid(entropies, mask), as_grid(values, mask) / temperature(model)


@torch.inference_mode()
def all_values(value: PreTrainedModel, rollout: Rollout, config: OptimiserConfig) -> Tensor:
    """Values before all sampled tokens, shape ``[B, T]``, in units of calibrated reward."""

    def read(reader: PreTrainedModel, rows: list[int]) -> Tensor:
        with precision(config):
            return value_view(reader, rollout, rows).cpu()

    return read_rollout(value, rollout, config, read)
