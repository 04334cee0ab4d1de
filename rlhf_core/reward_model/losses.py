"""The loss of a reward model: Bradley-Terry for every member, each on a bootstrap of the pairs.

P counts pairs, B responses, K members.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor
from transformers import PreTrainedModel

from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.data.packing import lay
from rlhf_core.data.pair_trees import PairTree, sides
from rlhf_core.data.pair_weights import balance, both_ways, weigh_by_prompt
from rlhf_core.data.records import Pair
from rlhf_core.distributed import Loss, LossFigures
from rlhf_core.models.forward import response_scores
from rlhf_core.models.precision import device, precision
from rlhf_core.objectives import bradley_terry_loss


class Lesson(NamedTuple):
    """The pairs of one prompt, with what each of them weighs for each member.

    Attributes:
        comparison: the pairs.
        weights: weight of each of the P pairs for each of the K members.
    """

    comparison: PairTree
    weights: list[list[float]]

    @property
    def size(self) -> int:
        """Tokens of the prompt with its responses."""
        return self.comparison.tree.size


def as_learned(config: RewardModelConfig, train: Sequence[Pair]) -> list[Pair]:
    """The training pairs with what grades, rankings and votes make of them.

    Args:
        config: `margin_scale`, `weigh`, `labels` and `balance`.
        train: pairs as they were labelled.

    Raises:
        CannotBalance: if the pairs shall be balanced and cannot be.
    """
    pairs = [pair._replace(margin=pair.margin + config.margin_scale * pair.grade) for pair in train]
    if config.weigh == "prompts":
        pairs = weigh_by_prompt(pairs)
    return both_ways(pairs) if config.labels == "votes" else balance(pairs, config.balance)


def lessons(comparisons: Sequence[PairTree], heads: int, *, seed: int) -> list[Lesson]:
    """Give every member of an ensemble a bootstrap of its own over the pairs; a single head sees all as they are.

    How often a member sees a pair is Poisson(1), the limit of drawing with replacement for many pairs (Oza and Russell,
    2001, section 2). It depends on seed, pair and the member's number only, not on order, batch or rank; nor on which
    response was preferred, so that a pair whose votes were divided is seen both ways as often.

    Args:
        comparisons: pairs by prompt.
        heads: members, K.
        seed: seed of the run.

    Returns:
        In the order of the comparisons; weights multiply those of the pairs.
    """
    return [Lesson(item, _weights(item, heads, seed)) for item in comparisons]


def reward_loss(config: RewardModelConfig, batch: list[Lesson]) -> Loss:
    """Mean over members of the Bradley-Terry loss of some prompts over the count of pairs of all.

    Not over the sum of their weights, which would take the weight off a pair that is alone in its batch: weights are 1
    on average over the training pairs, so over a pass the two are the same.

    Args:
        config: smoothing, centring and precision.
        batch: the prompts of an optimiser step.

    Returns:
        The loss, which reports `loss_nats`.
    """
    pairs = pair_count(batch)

    def loss(model: PreTrainedModel, group: list[int]) -> tuple[Tensor, LossFigures]:
        part = [batch[index] for index in group]
        with precision(config.optimiser):
            scores = response_scores(model, lay([item.comparison.tree for item in part], device()))
        nll = preference_nll(config, scores, part) / pairs
        return nll + centring_penalty(config, scores, part) / pairs, {"loss_nats": nll.detach()}

    return loss


def preference_nll(config: RewardModelConfig, scores: Tensor, part: Sequence[Lesson]) -> Tensor:
    """Weighted negative log-likelihood of the pairs of some prompts, summed over them, mean over members; nats.

    Args:
        config: smoothing.
        scores: of their responses by the members, shape ``[B, K]``, logits.
        part: the prompts.
    """
    chosen, rejected = sides([item.comparison for item in part])
    margin = scores.new_tensor([value for item in part for value in item.comparison.margins])
    weight = scores.new_tensor([values for item in part for values in item.weights])
    mean = bradley_terry_loss(
        scores[chosen], scores[rejected], margin=margin[:, None], weight=weight, label_smoothing=config.label_smoothing
    )
    return mean * len(chosen)


def centring_penalty(config: RewardModelConfig, scores: Tensor, part: Sequence[Lesson]) -> Tensor:
    """`centring_coef` times the squared sum of both scores of a pair, summed over pairs, mean over members.

    Eisenstein et al. (2023), equation 2. The pairs count alike, as where scores lie is no matter of the label.

    Args:
        config: the coefficient.
        scores: of the responses by the members, shape ``[B, K]``, logits.
        part: the prompts.
    """
    chosen, rejected = sides([item.comparison for item in part])
    return config.centring_coef * (scores[chosen] + scores[rejected]).square().mean(dim=1).sum()


def pair_count(batch: Sequence[Lesson]) -> int:
    """Pairs of some prompts."""
    return sum(len(item.comparison.chosen) for item in batch)


def _weights(item: PairTree, heads: int, seed: int) -> list[list[float]]:
    if heads == 1:
        return [[weight] for weight in item.weights]
    responses = item.tree.responses
    draws = [
        _seen(f"{seed} {item.tree.prompt} {sorted((responses[chosen], responses[rejected]))}", heads)
        for chosen, rejected in zip(item.chosen, item.rejected, strict=True)
    ]
    return [[weight * times for times in counts] for weight, counts in zip(item.weights, draws, strict=True)]


def _seen(pair: str, heads: int) -> list[int]:
    """How often each member sees a pair."""
    seed = int.from_bytes(hashlib.sha256(pair.encode()).digest())
    times: list[int] = np.random.default_rng(seed).poisson(1.0, heads).tolist()
    return times
