"""What PPO maximises: the calibrated score of a frozen reward model, less a penalty for not ending."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlhf_core.batching import lay, share_prompts
from rlhf_core.config.training import OptimiserConfig
from rlhf_core.models import device, response_scores, temperature
from rlhf_core.parallel import together
from rlhf_core.text import Tree
from rlhf_core.training import precision


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

    def read(reader: PreTrainedModel, group: list[int]) -> Sequence[Tensor]:
        part = [joined[place] for place in group]
        with precision(config):
            found = response_scores(reader, lay(part, device()))
        split: Sequence[Tensor] = found.cpu().split([len(tree.responses) for tree in part])
        return split

    scores = together(model, [tree.size for tree in joined], config.max_tokens, read)
    return torch.cat(scores)[places].to(device()) / temperature(model)


def penalise_unfinished(scores: Tensor, finished: Tensor, *, missing_eos_penalty: float) -> Tensor:
    """Subtract a penalty from the score of every response that did not end by itself, all of shape ``[B]``."""
    return torch.where(finished, scores, scores - missing_eos_penalty)
