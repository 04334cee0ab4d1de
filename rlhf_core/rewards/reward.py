"""The reward of PPO: a weighted sum of a reward model's score and further terms, less a penalty for not ending.

B counts responses. A term says one number of each; the sum normalises, clips and weighs them.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rlhf_core.config.reward import EnsembleConfig, RewardConfig, WeighingConfig
from rlhf_core.models.ensembles import Aggregation, disagreement
from rlhf_core.models.scoring import Scores
from rlhf_core.rewards.moments import Moments

SCORE = "score"
"""The term of the trained reward model."""

TOTAL = "total"
"""What is remembered of the sum."""


class Reward:
    """The weighted sum of all terms, with the moments of what is whitened over the rollouts so far.

    Args:
        config: weights, normalisation and limits.
    """

    def __init__(self, config: RewardConfig) -> None:
        self._config = config
        members = config.ensemble.members if config.ensemble else ()
        self._weighing: dict[str, WeighingConfig] = {SCORE: config.model}
        self._weighing |= {term.name: term for term in config.terms if term.name not in members}
        whitened = [name for name, weighing in self._weighing.items() if weighing.normalise == "whiten"]
        self._moments = {name: Moments() for name in [*whitened, *([TOTAL] if config.whiten else [])]}

    def combine(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Add up the terms of one rollout, which from now on counts among those seen.

        Args:
            terms: what the reward model (`score`) and every further term say, each of shape ``[B]``, float32.

        Returns:
            Shape ``[B]``, float32: the sum over terms of weight times clipped, normalised term, itself whitened and
            clipped where that is configured. The sum is linear in the weights, whatever the order of the terms. Members
            of an ensemble enter it as one term, instead of the score.
        """
        if self._config.ensemble is not None:
            how = Aggregation(self._config.ensemble.aggregate, self._config.ensemble.uncertainty_lambda)
            terms = {**terms, SCORE: how.of(_members(self._config.ensemble, terms))}
        total = torch.stack([self._weighed(name, terms[name]) for name in sorted(self._weighing)]).sum(dim=0)
        return _clip(self._whitened(TOTAL, total), self._config.clip).float()

    @property
    def state(self) -> dict[str, Any]:
        """What `restore` needs to go on, as JSON takes it."""
        return {name: list(moments) for name, moments in self._moments.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self._moments = {name: Moments.from_numbers(numbers) for name, numbers in state.items()}

    def _weighed(self, name: str, values: Tensor) -> Tensor:
        weighing = self._weighing[name]
        return weighing.weight * _clip(self._whitened(name, values.double()), weighing.clip)

    def _whitened(self, name: str, values: Tensor) -> Tensor:
        """Values as they are, or whitened by all that were seen under this name, these included."""
        if name not in self._moments:
            return values
        batch = values.cpu().numpy()
        self._moments[name] = self._moments[name].with_values(batch)
        return torch.from_numpy(self._moments[name].whiten(batch)).to(values.device)


def _clip(values: Tensor, limit: float | None) -> Tensor:
    return values if limit is None else values.clamp(-limit, limit)


def disagreement_of(config: RewardConfig, scores: Scores, terms: Mapping[str, Tensor]) -> Tensor:
    """How far reward models disagree: those of the reward's ensemble, or else the members of the trained one.

    Args:
        config: which terms are members of an ensemble.
        scores: what the trained reward model says.
        terms: what every further term says, each of shape ``[B]``.

    Returns:
        Standard deviation, shape ``[B]``, calibrated logits; NaN where nobody can disagree.
    """
    if config.ensemble is None:
        return scores.disagreement
    return disagreement(_members(config.ensemble, {SCORE: scores.score, **terms}))


def _members(ensemble: EnsembleConfig, terms: Mapping[str, Tensor]) -> Tensor:
    """Scores of the trained reward model and of the members of an ensemble, shape ``[B, K]``."""
    return torch.stack([terms[name] for name in (SCORE, *ensemble.members)], dim=1)


def penalise_unfinished(scores: Tensor, finished: Tensor, *, missing_eos_penalty: float) -> Tensor:
    """Subtract a penalty from the score of every response that did not end by itself, all of shape ``[B]``."""
    return torch.where(finished, scores, scores - missing_eos_penalty)
