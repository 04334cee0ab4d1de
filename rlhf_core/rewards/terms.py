"""Reward terms besides the trained reward model: rules, Python functions, further reward models."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.reward import ModelConfig, PythonConfig, RewardConfig, RuleConfig, WeighingConfig
from rlhf_core.distributed import from_first, rank
from rlhf_core.models.loading import digest
from rlhf_core.models.precision import device
from rlhf_core.rewards.functions import ask, load_function, source_digest
from rlhf_core.rewards.rules import rule_of
from rlhf_core.rewards.scorer import Responses, Scorer

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
        is_first = rank() == 0
        values = ask(self._name, self._function, responses.prompts, responses.texts).tolist() if is_first else []
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
    terms: dict[str, Term] = {}
    for term in config.terms:
        match term:
            case PythonConfig():
                terms[term.name] = ByFunction(term)
            case ModelConfig():
                terms[term.name] = ByModel(Scorer(term_models[term.name], tokenizer, optimiser, beside))
            case _:
                terms[term.name] = ByRule(term)
    return terms


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
