"""Centring of a reward model: demonstrations score 0 on average, by its weights alone (docs/decisions/0003)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.data.array_cache import cached, content_key
from rlhf_core.data.packing import lay
from rlhf_core.data.tokenizer import Tree
from rlhf_core.distributed import gathered, overwrite, rank, ranks, shares, token_batches, whole
from rlhf_core.models.forward import last_states
from rlhf_core.models.heads import score_head
from rlhf_core.models.precision import device


@torch.inference_mode()
def centre(
    config: RewardModelConfig, model: PreTrainedModel, demonstrated: Sequence[Tree], folder: Path | None
) -> None:
    """Make the mean score of the demonstrations 0 for every member, in place.

    The heads have no bias there, so the component of each along the mean final hidden state m is removed:
    w <- w - (w.m / m.m) m. Then w.m = 0, which is the mean score.

    Args:
        config: precision and tokens of one forward pass.
        model: reward model.
        demonstrated: the demonstrations.
        folder: folder of what is kept for this very model; None keeps nothing.
    """
    path = folder / f"{content_key('mean state', demonstrated)}.npy" if folder else None
    mean = torch.from_numpy(cached(path, lambda: _mean_state(config, model, demonstrated))).to(device())
    with whole(model) as reader:
        weight = score_head(reader).weight.clone()
    along = (weight.double() @ mean) / (mean @ mean)
    overwrite(score_head(model).weight, (weight.double() - along[:, None] * mean[None, :]).to(weight.dtype))


def _mean_state(config: RewardModelConfig, model: PreTrainedModel, trees: Sequence[Tree]) -> NDArray[np.float64]:
    """Mean final hidden state at the last tokens of all responses, shape ``[D]``."""
    total = torch.zeros(score_head(model).in_features, dtype=torch.float64)
    with whole(model) as reader:
        mine = [trees[index] for index in shares([tree.size for tree in trees], ranks())[rank()]]
        for group in token_batches([tree.size for tree in mine], config.optimiser.max_tokens):
            states = last_states(reader, lay([mine[index] for index in group], device()))
            total += states.double().sum(dim=0).cpu()
    means: NDArray[np.float64] = (torch.stack(gathered(total)).sum(dim=0) / len(trees)).numpy()
    return means
