"""What PPO maximises: a weighted sum of a frozen reward model's score and further terms, less a penalty for not ending.

B counts responses. A term says one number of each; the sum normalises, clips and weighs them.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

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
from rlhf_core.models import device, digest, load_reward_model
from rlhf_core.moments import Moments
from rlhf_core.parallel import from_first, rank, shard
from rlhf_core.reward_functions import ask, load_function, source_digest
from rlhf_core.rules import rule_of
from rlhf_core.scoring import Scores, score_trees
from rlhf_core.text import Tree, encode, load_tokenizer
from rlhf_core.training import fuse

SCORE = "score"
"""The term of the trained reward model."""
TOTAL = "total"
"""What is remembered of the sum."""


class Responses(NamedTuple):
    """What terms score.

    Attributes:
        prompts: texts of the users, B.
        texts: their responses without special tokens, B.
        trees: token ids of each prompt with its response, B.
        finished: whether a response ended by itself, B.
    """

    prompts: Sequence[str]
    texts: Sequence[str]
    trees: Sequence[Tree]
    finished: Sequence[bool]


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

    One with the policy's vocabulary and chat template reads the policy's tokens. Any other reads the texts as tokens of
    its own, and the end-of-sequence token where a response ended; prompt and response get half of its positions each.
    """

    def __init__(
        self,
        folder: Path,
        tokenizer: PreTrainedTokenizerBase,
        config: OptimiserConfig,
        beside: PreTrainedModel | None = None,
    ) -> None:
        own = load_tokenizer(str(folder))
        same = own.get_vocab() == tokenizer.get_vocab() and own.chat_template == tokenizer.chat_template
        self._own = None if same else own
        self._model = shard(fuse(load_reward_model(folder, own, beside=beside), config)).requires_grad_(False)
        self._config = config

    def __call__(self, responses: Responses) -> Tensor:
        """The score of each response."""
        trees = responses.trees if self._own is None else self._read_again(self._own, responses)
        return score_trees(self._model, trees, self._config)

    def _read_again(self, own: PreTrainedTokenizerBase, responses: Responses) -> list[Tree]:
        half = (getattr(self._model.config, "max_position_embeddings", None) or sys.maxsize) // 2
        pairs = list(zip(responses.prompts, responses.texts, strict=True))
        trees = encode(own, pairs, max_prompt_tokens=half, max_response_tokens=half)
        return [
            tree if finished else _unended(tree, own.eos_token_id)
            for tree, finished in zip(trees, responses.finished, strict=True)
        ]


def _unended(tree: Tree, end: int) -> Tree:
    """A tree of one response without the end-of-sequence token, unless it is all that there is."""
    (ids,) = tree.responses
    return Tree(tree.prompt, [ids[:-1]]) if len(ids) > 1 and ids[-1] == end else tree


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
                found[term.name] = ByModel(term_models[term.name], tokenizer, optimiser, beside)
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
