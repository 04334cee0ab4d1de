"""What PPO maximises: the calibrated score of a frozen reward model, less a penalty for not ending."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlhf_core.batching import lay, share_prompts, token_batches
from rlhf_core.models import device, response_scores, temperature
from rlhf_core.text import Tree
from rlhf_core.training import OptimiserConfig, precision


@torch.inference_mode()
def score_trees(model: PreTrainedModel, trees: Sequence[Tree], config: OptimiserConfig) -> Tensor:
    """Score responses by a reward model; each prompt is read once.

    Args:
        model: reward model.
        trees: prompts with B responses in all.
        config: precision and tokens of one forward pass.

    Returns:
        Shape ``[B]`` in the order of the responses, float32, logits divided by the temperature that is stored with the
        model, if one is.
    """
    joined, places = share_prompts(trees, config.max_tokens)
    scores = []
    for group in token_batches([tree.size for tree in joined], config.max_tokens):
        with precision(config):
            scores.append(response_scores(model, lay([joined[place] for place in group], device())))
    return torch.cat(scores)[places] / temperature(model)


def penalise_unfinished(scores: Tensor, finished: Tensor, *, missing_eos_penalty: float) -> Tensor:
    """Subtract a penalty from the score of every response that did not end by itself, all of shape ``[B]``."""
    return torch.where(finished, scores, scores - missing_eos_penalty)
