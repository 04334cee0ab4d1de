"""Votes as soft labels, ties, grades as margins and rankings: what a pair says, and what is learned from it."""

import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from rlhf_core.balance import weigh_by_prompt
from rlhf_core.comparisons import compare
from rlhf_core.config.dpo import DPOConfig
from rlhf_core.dpo import anchor, pair_losses
from rlhf_core.models import load_policy, load_reward_model
from rlhf_core.objectives import bradley_terry_loss, mistaken
from rlhf_core.records import Demonstration, Pair
from rlhf_core.reward_losses import lessons, reward_loss
from rlhf_core.reward_model import RewardModelConfig, train_reward_model
from rlhf_core.rewards import score_trees
from rlhf_core.text import encode
from rlhf_core.training import OptimiserConfig

PAIRS = [
    Pair("how are you", "fine", "you are fine", margin=0.5, weight=2.0, dissent=0.25),
    Pair("how are you", "fine", "how", dissent=0.0),
    Pair("how", "thanks", "fine thanks", margin=1.5, dissent=0.5),
]
LIMITS = {"max_prompt_tokens": 8, "max_response_tokens": 6}


def test_a_soft_label_costs_the_cross_entropy_of_claim_and_votes() -> None:
    chosen, rejected = np.array([1.0, -0.5, 2.0]), np.array([0.2, 0.4, 0.0])
    dissent = np.array([0.0, 1 / 3, 0.5])
    claim = 1 / (1 + np.exp(rejected - chosen))
    expected = -((1 - dissent) * np.log(claim) + dissent * np.log(1 - claim)).mean()
    found = bradley_terry_loss(*map(torch.from_numpy, (chosen, rejected)), label_smoothing=torch.from_numpy(dissent))
    assert float(found) == pytest.approx(expected, rel=1e-12)


@given(st.floats(0.01, 0.5))
def test_a_soft_label_is_learned_where_the_claim_equals_the_share_of_votes(dissent: float) -> None:
    gap = torch.tensor([math.log((1 - dissent) / dissent)], dtype=torch.float64, requires_grad=True)
    bradley_terry_loss(gap, torch.zeros(1, dtype=torch.float64), label_smoothing=torch.tensor([dissent])).backward()
    assert gap.grad is not None and float(gap.grad.abs()) < 1e-6


def test_each_vote_may_be_recorded_wrongly_too() -> None:
    dissent = torch.tensor([0.0, 0.25, 0.5], dtype=torch.float64)
    expected = [0.1, 0.9 * 0.25 + 0.1 * 0.75, 0.5]
    assert mistaken(dissent, 0.1).tolist() == pytest.approx(expected)
    assert mistaken(dissent, 0.0).tolist() == dissent.tolist()


def scored(base: Path, tokenizer: PreTrainedTokenizerBase, pairs: list[Pair]) -> tuple[object, np.ndarray]:
    """A reward model with a new head, and its gap of each pair."""
    torch.manual_seed(3)
    model = load_reward_model(base, tokenizer)
    sides = [
        score_trees(model, encode(tokenizer, [(pair.prompt, text) for pair, text in side], **LIMITS), OptimiserConfig())
        for side in ([(pair, pair.chosen) for pair in pairs], [(pair, pair.rejected) for pair in pairs])
    ]
    return model, (sides[0] - sides[1]).double().numpy()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_of_a_step_by_hand(base: Path, tokenizer: PreTrainedTokenizerBase, smoothing: float) -> None:
    """Margin of Touvron et al. (2023), equation 2; soft labels; weights: all at once."""
    model, gaps = scored(base, tokenizer, PAIRS)
    expected = 0.0
    for pair, gap in zip(PAIRS, gaps, strict=True):
        wrong = pair.dissent * (1 - smoothing) + (1 - pair.dissent) * smoothing
        win = 1 / (1 + math.exp(-(gap - pair.margin)))
        expected -= pair.weight * ((1 - wrong) * math.log(win) + wrong * math.log(1 - win)) / len(PAIRS)
    config = RewardModelConfig(label_smoothing=smoothing, **LIMITS)
    batch = lessons(compare(tokenizer, PAIRS, **LIMITS), 1, seed=0)
    loss, _ = reward_loss(config, batch)(model, [0, 1])  # type: ignore[arg-type]
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-5)


def test_rankings_cost_what_instructgpt_s_do(base: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Ouyang et al. (2022), equation 1: the mean over prompts of the mean over the K (K - 1) / 2 pairs of each."""
    ranked = {"how are you": ["fine thanks", "fine", "how", "you"], "how": ["thanks", "are"]}
    pairs = [Pair(prompt, a, b) for prompt, texts in ranked.items() for a, b in combinations(texts, 2)]
    model, gaps = scored(base, tokenizer, pairs)
    losses = np.log1p(np.exp(-gaps))
    expected = np.mean([np.mean(losses[:6]), np.mean(losses[6:])])
    weighed = weigh_by_prompt(pairs)
    assert sum(pair.weight for pair in weighed) == pytest.approx(len(pairs))
    batch = lessons(compare(tokenizer, weighed, **LIMITS), 1, seed=0)
    loss, _ = reward_loss(RewardModelConfig(**LIMITS), batch)(model, [0, 1])  # type: ignore[arg-type]
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-5)
    assert expected != pytest.approx(losses.mean(), abs=1e-3)


def test_weighing_by_prompt_is_what_training_does_where_it_is_asked_for(base: Path, tmp_path: Path) -> None:
    pairs = [Pair("how are you", text, "how") for text in ("fine thanks", "fine", "you")] + [
        Pair("how", "thanks", "are")
    ]
    first = []
    for name, weigh, train in (
        ("asked", "prompts", pairs),
        ("by hand", "pairs", weigh_by_prompt(pairs)),
        ("plain", "pairs", pairs),
    ):
        training = train_reward_model(
            RewardModelConfig(weigh=weigh, batch_size=8, **LIMITS),
            init_from=base,
            train=train,
            held_out=pairs,
            demonstrations=[Demonstration("how", "fine")],
            out=tmp_path / name,
            seed=1,
        )
        first.append(next(training).metrics["loss_nats"])
    assert first[0] == first[1] != first[2]


def test_dpo_takes_soft_labels_too(base: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """A policy that is its reference claims a half of every pair: ln 2 whatever the votes; a moved one is held to them."""
    policy = load_policy(base, tokenizer)
    config = DPOConfig(beta=0.5, label_smoothing=0.1)
    anchored = anchor(config, policy, compare(tokenizer, PAIRS, **LIMITS), None)
    with torch.no_grad():
        policy.get_input_embeddings().weight.add_(0.1)
        losses, gaps = pair_losses(config, policy, anchored)
    for pair, loss, gap in zip(PAIRS, losses.tolist(), gaps.tolist(), strict=True):
        wrong = 0.1 + 0.8 * pair.dissent
        expected = wrong * math.log1p(math.exp(gap)) + (1 - wrong) * math.log1p(math.exp(-gap))
        assert loss == pytest.approx(expected, abs=1e-5)
