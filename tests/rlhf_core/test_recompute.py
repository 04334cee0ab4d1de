"""Gradient checkpointing: the gradient of every stage's loss is what it is without, at twice the forward passes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core import dpo, sft
from rlhf_core.base.language_model import window_loss
from rlhf_core.config.adapter import AdapterConfig
from rlhf_core.config.base import TextBaseConfig
from rlhf_core.config.dpo import DPOConfig
from rlhf_core.config.lengths import Lengths
from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.ppo import SeparateValueConfig, SharedTrunkConfig, UpdateConfig
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.config.sft import SFTConfig
from rlhf_core.data.pair_trees import compare
from rlhf_core.data.records import Pair
from rlhf_core.data.tokenizer import Tree
from rlhf_core.dpo import anchor
from rlhf_core.generation.rollout import as_rollout
from rlhf_core.generation.sampling import Sampled, sample
from rlhf_core.models.loading import load_policy, load_reward_model, save
from rlhf_core.models.lora import add_adapter
from rlhf_core.ppo.actor_critic import load_actor_critic
from rlhf_core.ppo.experience import Experience
from rlhf_core.ppo.losses import Minibatch
from rlhf_core.reward_model.length_debiasing import add_length_head, debiased_loss
from rlhf_core.reward_model.losses import lessons, reward_loss
from rlhf_core.training.optimiser import Optimiser

TREES = [Tree([3, 5, 4], [[7, 8, 2]]), Tree([3, 6, 7, 8, 4], [[9, 2]]), Tree([3, 9, 4], [[5, 7, 6, 9]])]
PAIRS = [Pair("how are you", "fine thanks", "you how"), Pair("how", "thanks", "are"), Pair("you", "fine", "how are")]
LENGTHS = Lengths(8, 6)
SAMPLED = [
    Sampled([3, 5, 4], [7, 8, 2], [-1.0, -2.0, -0.5], True),
    Sampled([3, 6, 7, 8, 4], [9, 2], [-2.0, -1.5], True),
]
Gradients = dict[str, Tensor]


@contextmanager
def counted() -> Iterator[list[str]]:
    """Every pass that gets to the second half of a layer."""
    passes: list[str] = []

    def note(module: torch.nn.Module, *_: object) -> None:
        if type(module).__name__ in ("GPT2MLP", "LlamaMLP"):
            passes.append(type(module).__name__)

    handle = torch.nn.modules.module.register_module_forward_pre_hook(note)  # one that is computed again is not ended
    try:
        yield passes
    finally:
        handle.remove()


def gradients(model: PreTrainedModel) -> Gradients:
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def of_loss(model: PreTrainedModel, optimiser: OptimiserConfig, sizes: list[int], loss: Any) -> Gradients:
    Optimiser(model, optimiser, 1).accumulate(sizes, loss)
    return gradients(model)


def by_base(base: Path, tokenizer: PreTrainedTokenizerBase, optimiser: OptimiserConfig) -> Gradients:
    config = TextBaseConfig(optimiser=optimiser)
    windows = torch.tensor([[3, 5, 4, 7, 8, 2], [3, 9, 4, 5, 7, 6]])
    return of_loss(load_policy(base, tokenizer).train(), optimiser, [1], window_loss(config, windows))


def by_sft(base: Path, tokenizer: PreTrainedTokenizerBase, optimiser: OptimiserConfig) -> Gradients:
    config = SFTConfig(optimiser=optimiser)
    return of_loss(load_policy(base, tokenizer), optimiser, [tree.size for tree in TREES], sft._loss(config, TREES))


def by_adapter(base: Path, tokenizer: PreTrainedTokenizerBase, optimiser: OptimiserConfig) -> Gradients:
    config, model = SFTConfig(optimiser=optimiser), load_policy(base, tokenizer)
    add_adapter(model, AdapterConfig(rank=2, dropout=0.4), seed=1)
    torch.manual_seed(2)
    for name, weight in model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(weight, std=0.3)
    return of_loss(model, optimiser, [tree.size for tree in TREES], sft._loss(config, TREES))


def by_reward_model(
    debias: str, base: Path, tokenizer: PreTrainedTokenizerBase, optimiser: OptimiserConfig
) -> Gradients:
    config = RewardModelConfig(optimiser=optimiser, heads=2, debias=debias, batch_size=8)  # type: ignore[arg-type]
    torch.manual_seed(1)
    model = load_reward_model(base, tokenizer, heads=2)
    batch = lessons(compare(tokenizer, PAIRS, LENGTHS), 2, seed=1)
    if debias == "length":
        add_length_head(model)
        loss = debiased_loss(config, model, batch)
    else:
        loss = reward_loss(config, batch)
    return of_loss(model, optimiser, [item.size for item in batch], loss)


def by_dpo(base: Path, tokenizer: PreTrainedTokenizerBase, optimiser: OptimiserConfig) -> Gradients:
    config = DPOConfig(optimiser=optimiser, sampling=SamplingConfig(**LENGTHS._asdict()))
    model = load_policy(base, tokenizer)
    items = anchor(config, model, compare(tokenizer, PAIRS, LENGTHS), None)
    sizes = [item.comparison.tree.size for item in items]
    return of_loss(model, optimiser, sizes, dpo._loss(config, items))


def by_ppo(
    value: SeparateValueConfig | SharedTrunkConfig,
    base: Path,
    tokenizer: PreTrainedTokenizerBase,
    optimiser: OptimiserConfig,
) -> Gradients:
    if isinstance(value, SeparateValueConfig):
        value = value.model_copy(update={"optimiser": optimiser})
    config = UpdateConfig(optimiser=optimiser, value=value, entropy_coef=0.1)
    torch.manual_seed(1)
    reward_model = save(load_reward_model(base, tokenizer), tokenizer, base.with_name("reward"))
    actor_critic = load_actor_critic(config, tokenizer, sft=base, reward_model=reward_model, steps=1)
    rollout = as_rollout(SAMPLED)
    advantages = torch.randn(rollout.mask.shape) * rollout.mask
    values, zeros = actor_critic.values(rollout), torch.zeros(2)
    known = Experience(rollout, zeros, zeros, rollout.logprobs, values, advantages, values + 0.4, zeros, {}, zeros, 0.0)
    actor_critic.accumulate(Minibatch(config, known, [0, 1]))
    actor_critic.add_demonstrations(TREES, coef=0.5)
    models = {name: part._model for name, part in actor_critic.parts.items()}
    return {f"{part}.{name}": found for part in models for name, found in gradients(models[part]).items()}


LOSSES: dict[str, Callable[..., Gradients]] = {
    "base": by_base,
    "sft": by_sft,
    "adapter with dropout": by_adapter,
    "reward model": partial(by_reward_model, "none"),
    "debiased reward model": partial(by_reward_model, "length"),
    "dpo": by_dpo,
    "ppo": partial(by_ppo, SeparateValueConfig()),
    "ppo on one trunk": partial(by_ppo, SharedTrunkConfig(coef=0.5)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_activations_that_were_kept(
    base: Path, tokenizer: PreTrainedTokenizerBase, name: str
) -> None:
    found, passes = [], []
    for recomputing in (False, True):
        optimiser = OptimiserConfig(max_tokens=16, gradient_checkpointing=recomputing)
        with counted() as taken:
            found.append(LOSSES[name](base, tokenizer, optimiser))
        passes.append(len(taken))
    assert len(found[0]) > 10 and passes[1] > passes[0]
    scale = max(float(value.abs().max()) for value in found[0].values())
    assert scale > 1e-3
    for weight, value in found[0].items():
        torch.testing.assert_close(found[1][weight], value, rtol=0, atol=1e-6 * max(scale, 1.0), msg=weight)


def test_only_what_has_a_gradient_is_computed_again(base: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    model = load_policy(base, tokenizer)
    Optimiser(model, OptimiserConfig(gradient_checkpointing=True), 1)
    with counted() as passes:
        logprobs = model(input_ids=torch.tensor([[3, 5, 4]])).logits.sum()
        assert len(passes) == 2
        logprobs.backward()
    assert len(passes) == 4
    with counted() as passes, torch.no_grad():
        model(input_ids=torch.tensor([[3, 5, 4]]))
    assert len(passes) == 2
    plain = load_policy(base, tokenizer)
    config = SamplingConfig(**LENGTHS._asdict())
    drawn = [
        sample(reader, tokenizer, ["how are you"], config, generator=torch.Generator().manual_seed(1))
        for reader in (model, plain)
    ]
    assert drawn[0] == drawn[1]
