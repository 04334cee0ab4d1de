"""Reward-model ensembles, scalar heads on one trunk: how members make one score, and how far they disagree.

What is stored about it lies in the model's `config.json`, so that stock `transformers` reads it. B counts responses,
K members; scores are logits before the temperature.
"""

from typing import NamedTuple, get_args

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from rlhf_core.config.reward_model import Aggregate
from rlhf_core.data.model_settings import stored_number

AGGREGATE = "reward_aggregate"

UNCERTAINTY_LAMBDA = "reward_uncertainty_lambda"

CENTRE = "reward_centre"
"""Keys in the `config.json` of an ensemble."""


class Aggregation(NamedTuple):
    """How the members of an ensemble make one score; that of a single head is its own.

    Attributes:
        how: `mean`, `min` or `uncertainty`.
        uncertainty_lambda: price of the variance, for `uncertainty`.
        centre: what is subtracted, so that demonstrations score 0 on average. The mean needs none, as each member is
            centred by its weights.
    """

    how: Aggregate = "mean"
    uncertainty_lambda: float = 0.0
    centre: float = 0.0

    def of(self, members: Tensor) -> Tensor:
        """One score for each response.

        Coste et al. (2024), section 3: mean optimisation, worst-case optimisation, and uncertainty-weighted
        optimisation, mean - lambda * variance, the variance over the K members and not over K - 1.

        Args:
            members: scores of the members, shape ``[B, K]``, logits.

        Returns:
            Shape ``[B]``, logits; the score itself where K is 1.
        """
        if self.how == "min":
            scores = members.amin(dim=1)
        else:
            scores = members.mean(dim=1)
            if self.how == "uncertainty":
                scores = scores - self.uncertainty_lambda * members.var(dim=1, correction=0)
        return scores - self.centre


def disagreement(members: Tensor) -> Tensor:
    """Standard deviation over the members, shape ``[B]``, in their unit; NaN of a single one, of which none is known.

    Args:
        members: shape ``[B, K]``.
    """
    if members.shape[1] == 1:
        return torch.full_like(members[:, 0], torch.nan)
    return members.std(dim=1, correction=0)


def aggregation(config: PreTrainedConfig) -> Aggregation:
    """What is stored in a model's configuration; that of a single head where nothing is.

    Raises:
        ValueError: if it is no rule.
    """
    how: Aggregate = getattr(config, AGGREGATE, "mean")
    if how not in get_args(Aggregate):
        raise ValueError(
            f"{config.name_or_path}: `{AGGREGATE}` in config.json is {how!r}, and there are "
            f"{', '.join(get_args(Aggregate))}"
        )
    return Aggregation(
        how=how,
        uncertainty_lambda=stored_number(config, UNCERTAINTY_LAMBDA, 0.0, least=0.0),
        centre=stored_number(config, CENTRE, 0.0),
    )


def store_aggregation(config: PreTrainedConfig, rule: Aggregation) -> None:
    """Write into a model's configuration how its members make one score."""
    for key, value in zip((AGGREGATE, UNCERTAINTY_LAMBDA, CENTRE), rule, strict=True):
        setattr(config, key, value)


def forget_aggregation(config: PreTrainedConfig) -> None:
    """Take from a model's configuration what `store_aggregation` wrote."""
    for key in (AGGREGATE, UNCERTAINTY_LAMBDA, CENTRE):
        if hasattr(config, key):
            delattr(config, key)
