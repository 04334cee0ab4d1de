"""Votes as soft labels, ties, grades as margins and rankings: what is learned from a pair, by hand."""

import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.config.lengths import Lengths
from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.data.pair_trees import PairTree, compare
from rlhf_core.data.pair_weights import both_ways, weigh_by_prompt
from rlhf_core.data.records import Demonstration, Pair
from rlhf_core.data.tokenizer import Tree, encode
from rlhf_core.models.loading import load_reward_model
from rlhf_core.models.scoring import score_trees
from rlhf_core.objectives import bradley_terry_loss
from rlhf_core.reward_model.losses import as_learned, lessons, reward_loss
from rlhf_core.reward_model.train import train_reward_model

PAIRS = [
    Pair("how are you", "fine", "you are fine", margin=0.5, weight=1.5, share=0.75, grade=2.0),
    Pair("how are you", "fine", "how"),
    Pair("how", "thanks", "fine thanks", weight=0.5, share=0.5, grade=1.0),
]
LENGTHS = Lengths(8, 6)


@given(st.floats(0.5, 0.99), st.floats(-3.0, 3.0), st.floats(0.0, 2.0))
def test_both_ways_cost_the_cross_entropy_of_claim_and_votes(share: float, delta: float, margin: float) -> None:
    pairs = both_ways([Pair("p", "a", "b", margin=margin, share=share), Pair("q", "a", "b")])
    rewards = {"a": delta, "b": 0.0}
    chosen, rejected, margins, weights = (
        torch.tensor(values, dtype=torch.float64)
        for values in zip(*((rewards[p.chosen], rewards[p.rejected], p.margin, p.weight) for p in pairs), strict=True)
    )
    claim = 1 / (1 + math.exp(-(delta - margin)))
    expected = -share * math.log(claim) - (1 - share) * math.log(1 - claim) + math.log1p(math.exp(-delta))
    found = bradley_terry_loss(chosen, rejected, margin=margins, weight=weights)
    assert float(found) == pytest.approx(expected / 2, rel=1e-9)


def test_grades_become_margins_beside_those_that_there_are() -> None:
    learned = as_learned(RewardModelConfig(margin_scale=0.25), PAIRS)
    assert [pair.margin for pair in learned] == [0.5 + 0.25 * 2.0, 0.0, 0.25]
    assert as_learned(RewardModelConfig(), PAIRS) == PAIRS


def test_a_member_sees_a_pair_whose_votes_were_divided_both_ways_as_often() -> None:
    both = PairTree(Tree([5], [[6], [7]]), chosen=[0, 1], rejected=[1, 0], weights=[0.75, 0.25], margins=[0.0, 0.0])
    (lesson,) = lessons([both], 64, seed=1)
    first, second = lesson.weights
    assert [weight / 0.75 for weight in first] == [weight / 0.25 for weight in second]
    assert {0.0, 0.75, 1.5} <= set(first)


def test_every_prompt_has_the_same_weight_whatever_the_length_of_its_ranking() -> None:
    pairs = [Pair("p", a, b) for a, b in combinations("abcd", 2)] + [Pair("q", "a", "b")]
    weighed = weigh_by_prompt(pairs)
    totals = [sum(pair.weight for pair in weighed if pair.prompt == prompt) for prompt in "pq"]
    assert totals == pytest.approx([3.5, 3.5])


def scored(base: Path, tokenizer: PreTrainedTokenizerBase, pairs: list[Pair]) -> tuple[PreTrainedModel, np.ndarray]:
    """A reward model with a new head, and its gap of each pair."""
    torch.manual_seed(3)
    model = load_reward_model(base, tokenizer)
    chosen, rejected = (
        score_trees(model, encode(tokenizer, side, LENGTHS), OptimiserConfig())
        for side in ([(pair.prompt, pair.chosen) for pair in pairs], [(pair.prompt, pair.rejected) for pair in pairs])
    )
    return model, (chosen - rejected).double().numpy()


def step_loss(config: RewardModelConfig, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> float:
    """Of one optimiser step on all pairs."""
    batch = lessons(compare(tokenizer, as_learned(config, PAIRS), LENGTHS), 1, seed=0)
    return float(reward_loss(config, batch)(model, list(range(len(batch))))[0].detach())


def cross_entropy(gap: float, share: float) -> float:
    return share * math.log1p(math.exp(-gap)) + (1 - share) * math.log1p(math.exp(gap))


@pytest.mark.parametrize("labels", ["majority", "votes"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_step_on_votes_grades_and_weights(
    base: Path, tokenizer: PreTrainedTokenizerBase, labels: str, smoothing: float
) -> None:
    """The margin of Touvron et al. (2023), equation 2, soft labels and weights, all at once."""
    model, gaps = scored(base, tokenizer, PAIRS)
    expected = 0.0
    for pair, gap in zip(PAIRS, gaps, strict=True):
        share = pair.share if labels == "votes" else 1.0
        recorded = share * (1 - smoothing) + (1 - share) * smoothing  # each vote may be recorded wrongly, too
        expected += pair.weight * cross_entropy(gap - pair.margin - 0.25 * pair.grade, recorded) / len(PAIRS)
    config = RewardModelConfig(labels=labels, margin_scale=0.25, label_smoothing=smoothing, **LENGTHS._asdict())
    assert step_loss(config, model, tokenizer) == pytest.approx(expected, abs=1e-5)


def test_rankings_cost_what_those_of_instructgpt_do(base: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Ouyang et al. (2022), equation 1: the mean over prompts of the mean over the K (K - 1) / 2 pairs of each."""
    ranked = {"how are you": ["fine thanks", "fine", "how", "you"], "how": ["thanks", "are"]}
    pairs = [Pair(prompt, a, b) for prompt, texts in ranked.items() for a, b in combinations(texts, 2)]
    model, gaps = scored(base, tokenizer, pairs)
    losses = np.log1p(np.exp(-gaps))
    expected = np.mean([np.mean(losses[:6]), np.mean(losses[6:])])
    assert expected != pytest.approx(losses.mean(), abs=1e-3)
    for weigh, value in (("prompts", expected), ("pairs", losses.mean())):
        config = RewardModelConfig(weigh=weigh, **LENGTHS._asdict())
        learned = as_learned(config, pairs)
        assert sum(pair.weight for pair in learned) == pytest.approx(len(pairs))
        loss, _ = reward_loss(config, lessons(compare(tokenizer, learned, LENGTHS), 1, seed=0))(model, [0, 1])
        assert float(loss.detach()) == pytest.approx(value, abs=1e-5)


def test_training_learns_from_pairs_as_they_are_asked_to_be_learned(base: Path, tmp_path: Path) -> None:
    asked = RewardModelConfig(labels="votes", margin_scale=0.25, weigh="prompts", batch_size=8, **LENGTHS._asdict())
    plain = RewardModelConfig(batch_size=8, **LENGTHS._asdict())
    losses = []
    for name, config, train in (
        ("asked", asked, PAIRS),
        ("by hand", plain, as_learned(asked, PAIRS)),
        ("plain", plain, PAIRS),
    ):
        training = train_reward_model(
            config,
            init_from=base,
            train=train,
            held_out=PAIRS,
            demonstrations=[Demonstration("how", "fine")],
            out=tmp_path / name,
            seed=1,
        )
        losses.append(next(training).metrics["loss_nats"])
    assert losses[0] == losses[1] != losses[2]
