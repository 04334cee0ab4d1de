"""What PPO maximises: a weighted sum of a frozen reward model's score and further terms, less a penalty for not ending.

B counts responses. A term says one number of each; the sum normalises, clips and weighs them.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.config.reward import (
    EnsembleConfig,
    ModelConfig,
    PythonConfig,
    RewardConfig,
    RuleConfig,
    WeighingConfig,
)
from rlhf_core.config.training import OptimiserConfig
from rlhf_core.ensembles import Aggregation, disagreement
from rlhf_core.models import device, digest
from rlhf_core.moments import Moments
from rlhf_core.parallel import from_first, rank
from rlhf_core.reward_functions import ask, load_function, source_digest
from rlhf_core.rules import rule_of
from rlhf_core.scorer import Responses, Scorer
from rlhf_core.scoring import Scores

SCORE = "score"
"""The term of the trained reward model."""
TOTAL = "total"
"""What is remembered of the sum."""


NO_MODELS: Mapping[str, Path] = MappingProxyType({})
"""No term is a further reward model."""


class Term(Protocol):
    """A part of the reward besides the trained reward model's."""

    def __call__(self, responses: Responses) -> Tensor:
        """What the term says of each response, before it is normalised and weighed: shape ``[B]``, float32."""


class ByRule:
    """A term that the text and its length decide."""

    def __init__(self, config: RuleConfig) -> None:
        self._rule = rule_of(config)

    def __call__(self, responses: Responses) -> Tensor:
        """The rule on each response."""
        pairs = zip(responses.texts, responses.trees, strict=True)
        return torch.tensor([self._rule(text, len(tree.responses[0])) for text, tree in pairs], device=device())


class ByFunction:
    """A term that a Python function of a user's decides, asked by rank 0 about all responses at once."""

    def __init__(self, config: PythonConfig) -> None:
        self._name = config.function
        self._function = load_function(config.function)

    def __call__(self, responses: Responses) -> Tensor:
        """What the function returns."""
        asked = rank() == 0
        values = ask(self._name, self._function, responses.prompts, responses.texts).tolist() if asked else []
        return torch.tensor(from_first(values), device=device())


class ByModel:
    """A term that a further reward model decides: its calibrated score.

    Args:
        scorer: the reward model.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def __call__(self, responses: Responses) -> Tensor:
        """The score of each response."""
        return self._scorer(responses).score


def load_terms(
    config: RewardConfig,
    tokenizer: PreTrainedTokenizerBase,
    optimiser: OptimiserConfig,
    term_models: Mapping[str, Path],
    beside: PreTrainedModel | None = None,
) -> dict[str, Term]:
    """The further terms by name, ready to score.

    Args:
        config: what they are.
        tokenizer: the policy's.
        optimiser: precision and tokens of one forward pass of further reward models.
        term_models: folders of these, by the name of the term.
        beside: a loaded model, whose weights those share that were trained as adapters on it.

    Raises:
        FunctionError: if a function of a user's cannot be had.
    """
    found: dict[str, Term] = {}
    for term in config.terms:
        match term:
            case PythonConfig():
                found[term.name] = ByFunction(term)
            case ModelConfig():
                found[term.name] = ByModel(Scorer(term_models[term.name], tokenizer, optimiser, beside))
            case _:
                found[term.name] = ByRule(term)
    return found


def term_keys(config: RewardConfig, term_models: Mapping[str, Path]) -> list[Any]:
    """What decides what the further terms say, as JSON takes it: it changes with their code and weights as well.

    Args as in `load_terms`.
    """
    weighing = set(WeighingConfig.model_fields)
    keys: list[Any] = []
    for term in config.terms:
        match term:
            case PythonConfig():
                content = source_digest(term.function)
            case ModelConfig():
                content = digest(term_models[term.name])
            case _:
                content = ""
        keys.append([term.model_dump(mode="json", exclude=weighing), content])
    return keys if config.ensemble is None else [*keys, config.ensemble.model_dump(mode="json")]


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
            of an ensemble enter it as one term, in the place of the score.
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
        seen = values.cpu().numpy()
        self._moments[name] = self._moments[name].with_values(seen)
        return torch.from_numpy(self._moments[name].whiten(seen)).to(values.device)


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
