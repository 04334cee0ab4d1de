"""Scores of a reward model: calibrated, for each response, and how far its members disagree about it.

B counts responses, K members.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.data.packing import Row, lay, share_prompts
from rlhf_core.data.tokenizer import Tree
from rlhf_core.distributed import together
from rlhf_core.models.ensembles import aggregation, disagreement
from rlhf_core.models.forward import response_scores
from rlhf_core.models.heads import temperature
from rlhf_core.models.precision import check_finite, device, precision


class Scores(NamedTuple):
    """What a reward model says of B responses, in logits divided by the temperature that is stored with it, if one is.

    Attributes:
        score: what the members of an ensemble make together, less their centre; shape ``[B]``, float32.
        disagreement: standard deviation over the members, shape ``[B]``, float32; NaN where there is one head.
    """

    score: Tensor
    disagreement: Tensor


def score_trees(model: PreTrainedModel, trees: Sequence[Tree], config: OptimiserConfig) -> Tensor:
    """As `score_ensemble`, without the disagreement: shape ``[B]`` in the order of the responses."""
    return score_ensemble(model, trees, config).score


def score_ensemble(model: PreTrainedModel, trees: Sequence[Tree], config: OptimiserConfig) -> Scores:
    """Score responses by a reward model; each prompt is read once.

    Args:
        model: reward model of one head or more.
        trees: prompts with B responses in all.
        config: precision and tokens of one forward pass.

    Returns:
        In the order of the responses.
    """
    members = member_scores(model, trees, config)
    scale = temperature(model)
    return Scores(aggregation(model.config).of(members) / scale, disagreement(members) / scale)


def member_scores(model: PreTrainedModel, trees: Sequence[Tree], config: OptimiserConfig) -> Tensor:
    """Score of each member of a reward model for each response, shape ``[B, K]``, float32, logits as trained."""
    return read_responses(model, trees, config, response_scores)


@torch.inference_mode()
def read_responses(
    model: PreTrainedModel,
    trees: Sequence[Tree],
    config: OptimiserConfig,
    read: Callable[[PreTrainedModel, Row], Tensor],
) -> Tensor:
    """Read something of every response.

    Args:
        model: reward model.
        trees: prompts with B responses in all; each prompt is read once.
        config: precision and tokens of one forward pass.
        read: of the model and a row with b responses a tensor of shape ``[b, K]``.

    Returns:
        Shape ``[B, K]`` in the order of the responses, on `device()`.

    Raises:
        NotFiniteError: if any of it is no number.
    """
    joined, indices = share_prompts(trees, config.max_tokens)

    def group_of(reader: PreTrainedModel, group: list[int]) -> Sequence[Tensor]:
        part = [joined[index] for index in group]
        with precision(config):
            scores = read(reader, lay(part, device()))
        split: Sequence[Tensor] = scores.cpu().split([len(tree.responses) for tree in part])
        return split

    parts = together(model, [tree.size for tree in joined], config.max_tokens, group_of)
    values = torch.cat(parts)[indices]
    check_finite("the model's scores", values)
    return values.to(device())
