"""What PPO maximises: the calibrated score of a frozen reward model, less a penalty for not ending."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from rlhf_core.batching import pad, token_batches
from rlhf_core.models import device, sequence_scores, temperature
from rlhf_core.training import OptimiserConfig, precision


@torch.inference_mode()
def score_sequences(model: PreTrainedModel, sequences: Sequence[list[int]], config: OptimiserConfig) -> Tensor:
    """Score prompts with responses by a reward model.

    Args:
        model: reward model.
        sequences: ids of a prompt and its response, for each item.
        config: precision and tokens of one forward pass.

    Returns:
        Shape ``[B]``, float32, logits divided by the temperature that is stored with the model, if one is.
    """
    scores = torch.zeros(len(sequences), device=device())
    for rows in token_batches([len(sequence) for sequence in sequences], config.max_tokens):
        batch = pad([sequences[row] for row in rows], int(model.config.pad_token_id), device())
        with precision(config):
            scores[rows] = sequence_scores(model, batch).float()
    return scores / temperature(model)


def penalise_unfinished(scores: Tensor, finished: Tensor, *, missing_eos_penalty: float) -> Tensor:
    """Subtract a penalty from the score of every response that did not end by itself, all of shape ``[B]``."""
    return torch.where(finished, scores, scores - missing_eos_penalty)
