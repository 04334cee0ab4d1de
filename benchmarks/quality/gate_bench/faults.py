"""Mistakes in code, each put into the very functions that one stage calls, for as long as that stage runs."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.common.climbs.recipe import Fault, StageName
from rlhf_core import objectives, sft
from rlhf_core.base.embedded import pretrain
from rlhf_core.config.base import PretrainConfig
from rlhf_core.data.tokenizer import Tree, load_tokenizer
from rlhf_core.evaluators import policy as policy_evaluator
from rlhf_core.models import scoring
from rlhf_core.models.heads import score_head
from rlhf_core.models.loading import load_policy, load_reward_model
from rlhf_core.ppo import actor_critic
from rlhf_core.ppo import train as ppo
from rlhf_core.ppo import update as ppo_update
from rlhf_core.reward_model import train as reward_model
from rlhf_core.rewards import scorer
from rlhf_core.training import loop

Parents = Mapping[StageName, Path]
SMALL = PretrainConfig(width=16, layers=1, heads=2)
"""A base with a seventieth of the usual weights."""
NOISE = 0.2
"""Standard deviation of weights that say nothing."""


@contextmanager
def _replaced(place: Any, name: str, mistake: Callable[..., Any]) -> Iterator[None]:
    """A mistake in the place of the function that a stage calls by a name.

    Raises:
        LookupError: if nothing called it, so that the stage was sound and its figures would be told as the mistake's.
    """
    reached = False

    def called(*given: Any, **named: Any) -> Any:
        nonlocal reached
        reached = True
        return mistake(*given, **named)

    with patch.object(place, name, called):
        yield
    if not reached:
        raise LookupError(f"nothing called {place.__name__}.{name}: the mistake was never there")


@contextmanager
def _sft_learns(change: Callable[[Tree], Tree]) -> Iterator[None]:
    """SFT on other tokens than those that it measures."""

    def fit(model: PreTrainedModel, items: Sequence[Tree], *rest: Any, **named: Any) -> Iterator[Any]:
        return loop.fit(model, list(map(change, items)), *rest, **named)

    with _replaced(sft, "fit", fit):
        yield


@contextmanager
def _learn_prompts_too(_: Parents) -> Iterator[None]:
    def whole(tree: Tree) -> Tree:
        return Tree(tree.prompt[:1], [[*tree.prompt[1:], *ids] for ids in tree.responses])

    with _sft_learns(whole):
        yield


@contextmanager
def _learn_no_end(_: Parents) -> Iterator[None]:
    with _sft_learns(lambda tree: Tree(tree.prompt, [ids[:-1] or ids for ids in tree.responses])):
        yield


@contextmanager
def _after_learning(spoil: Callable[[PreTrainedModel], None]) -> Iterator[None]:
    """Something happens to a reward model between its training and everything else."""
    original = reward_model._learn

    def learn(config: Any, model: PreTrainedModel, *rest: Any, **named: Any) -> Iterator[Any]:
        yield from original(config, model, *rest, **named)
        with torch.no_grad():
            spoil(model)

    with _replaced(reward_model, "_learn", learn):
        yield


def _renew_head(model: PreTrainedModel) -> None:
    head = score_head(model)
    nn.init.normal_(head.weight, std=(head.in_features + 1) ** -0.5)


def _repeat_member(model: PreTrainedModel) -> None:
    head = score_head(model)
    head.weight.copy_(head.weight[:1].expand_as(head.weight))


@contextmanager
def _small_reward_model(parents: Parents) -> Iterator[None]:
    """The reward model starts from a base of its own that is much smaller than the policy."""
    with TemporaryDirectory() as folder:

        def load(path: Path, tokenizer: PreTrainedTokenizerBase, **named: Any) -> PreTrainedModel:
            if path == parents["sft"]:
                for _ in pretrain(SMALL, out=Path(folder), seed=0):
                    pass
                path = Path(folder)
            return load_reward_model(path, tokenizer, **named)

        with _replaced(reward_model, "load_reward_model", load):
            yield


@contextmanager
def _head_lost(_: Parents) -> Iterator[None]:
    with _after_learning(_renew_head):
        yield


@contextmanager
def _same_members(_: Parents) -> Iterator[None]:
    with _after_learning(_repeat_member):
        yield


@contextmanager
def _head_lost_on_the_way(parents: Parents) -> Iterator[None]:
    """PPO's copy of the reward model has a new head, as when a checkpoint's names do not match."""

    def load(path: Path, tokenizer: PreTrainedTokenizerBase, **named: Any) -> PreTrainedModel:
        model = load_reward_model(path, tokenizer, **named)
        if path == parents["reward_model"]:
            torch.manual_seed(0)
            _renew_head(model)
        return model

    with _replaced(scorer, "load_reward_model", load):
        yield


@contextmanager
def _scored_without_end(_: Parents) -> Iterator[None]:
    """The reward model reads responses without the token at which it learned to score."""

    def scores(model: PreTrainedModel, trees: Sequence[Tree], config: Any) -> scoring.Scores:
        return scoring.score_ensemble(
            model, [Tree(tree.prompt, [ids[:-1] or ids for ids in tree.responses]) for tree in trees], config
        )

    with _replaced(scorer, "score_ensemble", scores):
        yield


@contextmanager
def _value_of_noise(_: Parents) -> Iterator[None]:
    as_value_model = actor_critic.as_value_model

    def noisy(model: PreTrainedModel) -> PreTrainedModel:
        model = as_value_model(model)
        torch.manual_seed(0)
        with torch.no_grad():
            for weight in model.parameters():
                nn.init.normal_(weight, std=NOISE)
        return model

    with _replaced(actor_critic, "as_value_model", noisy):
        yield


def _without_marker(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """A tokenizer whose template does not say that it is the assistant's turn."""
    other = copy.deepcopy(tokenizer)
    other.chat_template = str(other.chat_template).replace("{{ '<|assistant|>' }}", "")
    if other.chat_template == tokenizer.chat_template:
        raise ValueError("the chat template has no assistant marker to leave out")
    return other


@contextmanager
def _in_updates(name: str, other: Callable[[ppo.PPORun], Any]) -> Iterator[None]:
    """PPO has something else in the place of an attribute while it updates, and the right one while it measures."""
    original = ppo.PPORun._ppo_step

    def advance(self: ppo.PPORun, prompts: Sequence[str], step: int) -> dict[str, float]:
        right = getattr(self, name)
        setattr(self, name, other(self))
        try:
            return original(self, prompts, step)
        finally:
            setattr(self, name, right)

    with _replaced(ppo.PPORun, "_ppo_step", advance):
        yield


@contextmanager
def _other_template(_: Parents) -> Iterator[None]:
    """The whole stage writes prompts in another way than SFT and reward model learned them."""
    with _replaced(policy_evaluator, "load_tokenizer", lambda path: _without_marker(load_tokenizer(path))):
        yield


@contextmanager
def _other_template_in_rollouts(_: Parents) -> Iterator[None]:
    """As `_other_template`, but what is measured on held-out prompts is written as it should be."""
    with _in_updates("tokenizer", lambda run: _without_marker(run.tokenizer)):
        yield


@contextmanager
def _stale_reference(parents: Parents) -> Iterator[None]:
    """The reference is still the base, from before SFT."""

    def load(path: Path, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
        return load_policy(parents["base"] if path == parents["sft"] else path, tokenizer)

    with _replaced(policy_evaluator, "load_policy", load):
        yield


@contextmanager
def _reference_moves(_: Parents) -> Iterator[None]:
    """The reference shares the policy's weights, so that no drift is ever paid for."""
    with _in_updates("reference", lambda run: run.actor_critic.policy):
        yield


@contextmanager
def _advantages_of_wrong_sign(_: Parents) -> Iterator[None]:
    original = objectives.estimate_advantages

    def estimate(*given: Any, **named: Any) -> tuple[Tensor, Tensor]:
        advantages, returns = original(*given, **named)
        return -advantages, returns

    with _replaced(ppo_update, "estimate_advantages", estimate):
        yield


@contextmanager
def _no_self_test(_: Parents) -> Iterator[None]:
    def say_nothing(*_: Any) -> None:
        """Find nothing wrong."""

    answers = _replaced(policy_evaluator.PolicyEvaluator, "check_known_answers", say_nothing)
    with _replaced(ppo, "check_first_pass", say_nothing), answers:
        yield


PROMPTS_TOO = Fault("sft", "loss on prompts as well", _learn_prompts_too)
NO_END = Fault("sft", "targets without the end-of-sequence token", _learn_no_end)
SMALL_REWARD_MODEL = Fault("reward_model", "a small base of its own", _small_reward_model)
HEAD_LOST = Fault("reward_model", "head renewed after training", _head_lost)
SAME_MEMBERS = Fault("reward_model", "all members are the first", _same_members)
HEAD_LOST_ON_THE_WAY = Fault("policy", "head renewed on loading", _head_lost_on_the_way)
SCORED_WITHOUT_END = Fault("policy", "scored without the end-of-sequence token", _scored_without_end)
VALUE_OF_NOISE = Fault("policy", "values from noise", _value_of_noise)
OTHER_TEMPLATE = Fault("policy", "another chat template", _other_template)
OTHER_TEMPLATE_IN_ROLLOUTS = Fault("policy", "another chat template in rollouts", _other_template_in_rollouts)
STALE_REFERENCE = Fault("policy", "the reference is the base", _stale_reference)
REFERENCE_MOVES = Fault("policy", "the reference is the policy", _reference_moves)
WRONG_ADVANTAGES = Fault("policy", "advantages of the wrong sign", _advantages_of_wrong_sign)
NO_SELF_TEST = Fault("policy", "no self-test", _no_self_test)
