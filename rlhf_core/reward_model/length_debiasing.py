"""Length debiasing of a reward model: a second head takes what length explains, and is left out.

ODIN (Chen et al., 2024, "ODIN: Disentangled Reward Mitigates Hacking in RLHF", section 4). The preferences are learned
by the sum of a quality head and a length head on one trunk, its loss L^R; L^L pulls the length head's correlation with
length to 1 and the quality head's to 0; L^O turns both heads at right angles. B counts responses, K members.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.data.packing import Row, lay
from rlhf_core.data.tokenizer import Tree
from rlhf_core.distributed import Loss, LossFigures
from rlhf_core.models.forward import last_states
from rlhf_core.models.heads import score_head
from rlhf_core.models.precision import device, precision
from rlhf_core.models.scoring import read_responses
from rlhf_core.reward_model.losses import Lesson, centring_penalty, pair_count, preference_nll

LENGTH_HEAD = "length"


def add_length_head(model: PreTrainedModel) -> None:
    """Give a reward model a length head, N(0, 1/sqrt(d + 1)); `save` leaves it out, and no score knows of it."""
    quality = score_head(model)
    head = nn.Linear(quality.in_features, 1, bias=False, device=quality.weight.device)
    nn.init.normal_(head.weight, std=(head.in_features + 1) ** -0.5)
    setattr(model, LENGTH_HEAD, head)
    model._keys_to_ignore_on_save = {*(model._keys_to_ignore_on_save or ()), f"{LENGTH_HEAD}.weight"}


def length_scores(model: PreTrainedModel, trees: Sequence[Tree], config: OptimiserConfig) -> Tensor:
    """What the length head says of the responses, shape ``[B]``, float32, logits."""
    return read_responses(model, trees, config, lambda reader, row: _both_heads(reader, row)[1])[:, 0]


def debiased_loss(config: RewardModelConfig, model: PreTrainedModel, batch: list[Lesson]) -> Loss:
    """`reward_loss` by the sum of quality and length head, with L^L and L^O of ODIN.

    A correlation is of the whole batch and no sum over its prompts. So the batch is read once without gradient, and the
    derivatives of L^L by its scores are what each prompt's scores are multiplied by: by the chain rule the gradient is
    that of the whole batch, however it is cut into micro-batches and dealt to ranks.

    Args:
        config: coefficients, smoothing, centring and precision.
        model: with a length head, as it is before the step.
        batch: the prompts of an optimiser step.

    Returns:
        The loss, which reports `loss_nats` of the preferences; `quality_length_correlation`, mean size over members,
        and `length_head_correlation`, both over the batch; and `heads_cosine`, the mean size of their cosine.
    """
    pairs = pair_count(batch)
    slopes, correlations = _length_slopes(config, model, [item.comparison.tree for item in batch])

    def loss(model: PreTrainedModel, group: list[int]) -> tuple[Tensor, LossFigures]:
        part = [batch[index] for index in group]
        with precision(config.optimiser):
            quality, length = _both_heads(model, lay([item.comparison.tree for item in part], device()))
        nll = preference_nll(config, quality + length, part) / pairs
        share = pair_count(part) / pairs
        cosine = heads_cosine(score_head(model).weight, _length_head(model).weight)
        pulled = (torch.cat([quality, length], dim=1) * torch.cat([slopes[index] for index in group])).sum()
        total = nll + centring_penalty(config, quality, part) / pairs + config.length_coef * pulled
        figures = {name: share * value for name, value in {**correlations, "heads_cosine": cosine.detach()}.items()}
        return total + config.orthogonality_coef * share * cosine, {"loss_nats": nll.detach(), **figures}

    return loss


def pearson(scores: Tensor, lengths: Tensor) -> Tensor:
    """Pearson correlation of each column with lengths, shape ``[K]``, in [-1, 1]; 0 where either does not vary.

    Args:
        scores: shape ``[B, K]``.
        lengths: shape ``[B]``.
    """
    scores = scores - scores.mean(dim=0)
    lengths = lengths - lengths.mean()
    spread = scores.square().mean(dim=0) * lengths.square().mean()
    return (scores * lengths[:, None]).mean(dim=0) * torch.rsqrt(spread + 1e-12)


def length_loss(quality: Tensor, length: Tensor, lengths: Tensor) -> Tensor:
    """L^L of ODIN, |rho(quality, L)| - rho(length head, L), mean over members; -1 is its least.

    Args:
        quality: scores of the quality heads, shape ``[B, K]``.
        length: scores of the length head, shape ``[B, 1]``.
        lengths: of the responses, shape ``[B]``, tokens.
    """
    return pearson(quality, lengths).abs().mean() - pearson(length, lengths).mean()


def heads_cosine(quality: Tensor, length: Tensor) -> Tensor:
    """L^O of ODIN, |w_Q . w_L| of heads of norm 1, mean over members: without the norm, shrinking would lower it.

    Args:
        quality: weights of the quality heads, shape ``[K, D]``.
        length: weights of the length head, shape ``[1, D]``.
    """
    return F.cosine_similarity(quality, length, dim=1).abs().mean()


def _length_slopes(
    config: RewardModelConfig, model: PreTrainedModel, trees: Sequence[Tree]
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Derivatives of L^L by the scores of each tree's responses, shape ``[b, K + 1]``, and the correlations."""
    scores = read_responses(model, trees, config.optimiser, lambda *of: torch.cat(_both_heads(*of), dim=1))
    counts = [len(tree.responses) for tree in trees]
    lengths = scores.new_tensor([len(response) for tree in trees for response in tree.responses])
    leaves = scores.clone().requires_grad_()
    length_loss(leaves[:, :-1], leaves[:, -1:], lengths).backward()
    assert leaves.grad is not None
    by_head = pearson(scores, lengths)
    figures = {"quality_length_correlation": by_head[:-1].abs().mean(), "length_head_correlation": by_head[-1]}
    return list(leaves.grad.split(counts)), figures


def _both_heads(model: PreTrainedModel, row: Row) -> tuple[Tensor, Tensor]:
    """Scores of the quality heads, shape ``[B, K]``, and of the length head, ``[B, 1]``, float32, logits."""
    states = last_states(model, row)
    return score_head(model)(states).float(), _length_head(model)(states).float()


def _length_head(model: PreTrainedModel) -> nn.Linear:
    head = getattr(model, LENGTH_HEAD)
    assert isinstance(head, nn.Linear)
    return head
