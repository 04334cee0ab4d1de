"""RM refresh: choices of a policy, votes on them, soft labels, what a refresh is worth, against closed forms."""

import math
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit

from rlhf_core.annotation import ask_reward_model, cast, sample_choices
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.data.pair_weights import both_ways
from rlhf_core.data.records import Choice, Demonstration, Pair, VoteCounts, decide
from rlhf_core.data.tokenizer import load_tokenizer
from rlhf_core.embedded_world.annotators import AnnotatorConfig, annotate, utility
from rlhf_core.evaluators.reward_model import margins, measure_refresh, score
from rlhf_core.metrics.refresh import compare_refresh
from rlhf_core.models.heads import TEMPERATURE
from rlhf_core.models.loading import load_reward_model, save
from rlhf_core.objectives import bradley_terry_loss
from rlhf_core.reward_model.train import train_reward_model

SAMPLING = SamplingConfig(max_prompt_tokens=8, max_response_tokens=6)
LENGTHS = RewardModelConfig(max_prompt_tokens=8, max_response_tokens=6)
PROMPTS = ["how are you", "you fine", "how how"]


def scorer(base: Path, out: Path, seed: int) -> Path:
    """A reward model of random weights on the trunk of a base, with a temperature."""
    tokenizer = load_tokenizer(str(base))
    torch.manual_seed(seed)
    model = load_reward_model(base, tokenizer)
    setattr(model.config, TEMPERATURE, 0.5)
    return save(model, tokenizer, out)


# Choices


def test_every_two_different_answers_to_a_prompt_are_one_choice(base: Path) -> None:
    found = sample_choices(base, PROMPTS, SAMPLING, responses_per_prompt=4, seed=1)
    assert sorted(found, key=lambda choice: PROMPTS.index(choice.prompt)) == found
    for prompt in PROMPTS:
        pairs = [(choice.first, choice.second) for choice in found if choice.prompt == prompt]
        answers = list(dict.fromkeys(text for pair in pairs for text in pair))
        assert pairs == list(combinations(answers, 2)) and all(text.strip() for text in answers)
    assert len(found) > 3 and found == sample_choices(base, PROMPTS, SAMPLING, responses_per_prompt=4, seed=1)
    assert found != sample_choices(base, PROMPTS, SAMPLING, responses_per_prompt=4, seed=2)


def test_a_policy_that_says_one_thing_leaves_nothing_to_compare(base: Path) -> None:
    cold = SAMPLING.model_copy(update={"temperature": 1e-4})
    assert sample_choices(base, PROMPTS, cold, responses_per_prompt=3, seed=1) == []
    with pytest.raises(ValueError, match="responses_per_prompt 1 leaves nothing to compare"):
        sample_choices(base, PROMPTS, SAMPLING, responses_per_prompt=1, seed=1)


# Votes


def test_the_winner_of_the_votes_is_chosen_with_its_share() -> None:
    choice = Choice("p", "a", "b")
    assert decide(choice, VoteCounts(2, 1)) == Pair("p", "a", "b", share=2 / 3)
    assert decide(choice, VoteCounts(0, 3)) == Pair("p", "b", "a")
    with pytest.raises(ValueError, match="prefer neither"):
        decide(choice, VoteCounts(2, 2))


def test_a_judge_shares_its_votes_out_by_the_sigmoid_of_the_gap() -> None:
    gaps = np.array([-2.0, 0.0, 0.7, 30.0])
    shared = cast(gaps, votes=1001, drawn=False, seed=0)
    assert [sum(votes) for votes in shared] == [1001] * 4
    np.testing.assert_allclose([votes.first / 1001 for votes in shared], expit(gaps), atol=1e-3)


def test_drawn_votes_have_that_mean_and_the_spread_of_a_coin() -> None:
    first = np.array([votes.first for votes in cast(np.full(4000, 0.7), votes=9, drawn=True, seed=0)])
    chance = 1.0 / (1.0 + math.exp(-0.7))
    assert first.mean() == pytest.approx(9 * chance, abs=4 * math.sqrt(9 * chance * (1 - chance) / 4000))
    assert first.var() == pytest.approx(9 * chance * (1 - chance), rel=0.1)
    assert cast([0.7], votes=9, drawn=True, seed=3) == cast([0.7], votes=9, drawn=True, seed=3)


def test_a_reward_model_votes_by_the_difference_of_its_calibrated_scores(base: Path, tmp_path: Path) -> None:
    judge = scorer(base, tmp_path / "judge", 1)
    choices = [Choice("how are you", "fine", "thanks"), Choice("you fine", "fine fine", "how")]
    texts = [Demonstration(choice.prompt, text) for choice in choices for text in choice[1:]]
    scores = np.array(score(judge, texts, LENGTHS)).reshape(-1, 2)
    votes = ask_reward_model(judge, choices, LENGTHS, votes=10_001, drawn=False, seed=0)
    np.testing.assert_allclose([logit(v.first / 10_001) for v in votes], scores[:, 0] - scores[:, 1], atol=1e-3)


def test_simulated_annotators_vote_by_their_utility_with_their_biases() -> None:
    prompt = "how do i clean my kettle ?"
    choice = Choice(prompt, "rub it with lemon .", "to clean the kettle , rub it with lemon . hope that helps .")
    votes = 20_001
    for config in (AnnotatorConfig(), AnnotatorConfig(length_bias=2.0), AnnotatorConfig(careless_share=0.5)):
        gap = utility(config, prompt, choice.first) - utility(config, prompt, choice.second)
        expected = (1 - config.careless_share) * expit(gap) + config.careless_share / 2
        (found,) = annotate(config, [choice], votes=votes, seed=1)
        assert sum(found) == votes
        assert found.first / votes == pytest.approx(expected, abs=4 * math.sqrt(0.25 / votes))


# Soft labels


@given(st.floats(0.5, 1.0), st.floats(-3.0, 3.0), st.floats(-2.0, 2.0), st.floats(0.1, 5.0))
def test_a_pair_both_ways_costs_the_cross_entropy_to_its_votes(p: float, delta: float, margin: float, w: float) -> None:
    ways = both_ways([Pair("x", "a", "b", margin=margin, weight=w, share=p)])
    scores = {"a": delta, "b": 0.0}
    cost = bradley_terry_loss(
        torch.tensor([scores[way.chosen] for way in ways], dtype=torch.double),
        torch.tensor([scores[way.rejected] for way in ways], dtype=torch.double),
        margin=torch.tensor([way.margin for way in ways], dtype=torch.double),
        weight=torch.tensor([way.weight for way in ways], dtype=torch.double),
    )
    gap = delta - margin
    assert float(cost) == pytest.approx(w * (p * np.logaddexp(0, -gap) + (1 - p) * np.logaddexp(0, gap)))


def test_soft_labels_keep_the_weight_of_a_pair_beside_others_and_leave_unanimous_ones_alone() -> None:
    clear, divided = Pair("x", "a", "b"), Pair("x", "c", "d", share=0.75)
    assert both_ways([clear]) == [clear] and both_ways([]) == []
    ways = both_ways([clear, divided])
    assert [(way.chosen, way.rejected) for way in ways] == [("a", "b"), ("c", "d"), ("d", "c")]
    assert np.mean([way.weight for way in ways]) == pytest.approx(1.0)
    assert ways[1].weight + ways[2].weight == pytest.approx(ways[0].weight)
    assert ways[1].weight / ways[2].weight == pytest.approx(3.0)
    assert both_ways(ways) == ways  # nothing is divided any more


def test_soft_labels_and_balance_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="labels votes learns both ways"):
        RewardModelConfig(labels="votes", balance="length")


def test_a_reward_model_learns_the_votes_where_it_is_asked_to(base: Path, tmp_path: Path) -> None:
    def first_loss(share: float, labels: Literal["majority", "votes"]) -> float:
        pairs = [Pair(prompt, "fine thanks", "how", share=share) for prompt in PROMPTS]
        config = LENGTHS.model_copy(update={"labels": labels})
        texts = [Demonstration("you", "fine")]
        sets = {"train": pairs, "held_out": pairs, "demonstrations": texts}
        stage = train_reward_model(config, init_from=base, out=tmp_path, seed=0, **sets)
        event = next(stage)
        stage.close()
        return event.metrics["loss_nats"]

    hard, some, half = first_loss(0.75, "majority"), first_loss(0.75, "votes"), first_loss(0.5, "votes")
    mean_margin = (half - hard) / 0.5  # as -p log sigmoid(x) - (1 - p) log sigmoid(-x) = -log sigmoid(x) + (1 - p) x
    assert abs(mean_margin) > 0.01
    assert some - hard == pytest.approx(0.25 * mean_margin, rel=1e-4)


# What a refresh is worth


def test_a_gain_is_the_paired_difference_of_both_agreements() -> None:
    pairs = [Pair(str(number), "a", "b") for number in range(200)]
    rng = np.random.default_rng(0)
    last = rng.normal(0.2, 1.0, 200)
    refreshed = last + rng.normal(0.5, 0.3, 200)
    found = compare_refresh(pairs, refreshed=refreshed, last=last, judge=-last)
    after, before = float((refreshed > 0).mean()), float((last > 0).mean())
    assert found["agreement_on_policy"].value == pytest.approx(after)
    assert found["last_agreement_on_policy"].value == pytest.approx(before)
    assert found["judge_agreement_on_policy"].value == pytest.approx(1 - before)
    gain = found["agreement_on_policy_gain"]
    assert gain.value == pytest.approx(after - before) and gain.n == 200
    spread = np.std((refreshed > 0).astype(float) - (last > 0)) / math.sqrt(200)
    assert gain.upper - gain.lower == pytest.approx(2 * 1.96 * spread, rel=0.15)
    assert gain.upper - gain.lower < found["agreement_on_policy"].upper - found["agreement_on_policy"].lower
    assert "judge_agreement_on_policy" not in compare_refresh(pairs, refreshed=refreshed, last=last)


def test_pairs_of_one_prompt_are_resampled_together() -> None:
    margins_of = np.tile([1.0, 1.0, -1.0], 40)
    alone = compare_refresh([Pair(str(n), "a", "b") for n in range(120)], refreshed=margins_of, last=margins_of)
    together = compare_refresh([Pair(str(n % 3), "a", "b") for n in range(120)], refreshed=margins_of, last=margins_of)
    widths = [f["agreement_on_policy"].upper - f["agreement_on_policy"].lower for f in (alone, together)]
    assert widths[1] > 3 * widths[0]
    assert together["agreement_on_policy_gain"][:3] == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="at least one sample"):
        compare_refresh([], refreshed=np.array([]), last=np.array([]))


def test_saved_models_are_measured_as_their_margins_say(base: Path, tmp_path: Path) -> None:
    models = [scorer(base, tmp_path / str(seed), seed) for seed in (1, 2, 3)]
    answers = ("fine", "thanks", "you are", "fine thanks how")
    pairs = [Pair(prompt, *two) for prompt in PROMPTS for two in combinations(answers, 2)]
    found = measure_refresh(LENGTHS, reward_model=models[0], last=models[1], judge=models[2], held_out=pairs)
    for name, folder in zip(("agreement_on", "last_agreement_on", "judge_agreement_on"), models, strict=True):
        tokenizer = load_tokenizer(str(folder))
        deltas = margins(LENGTHS, load_reward_model(folder, tokenizer), tokenizer, pairs)
        assert found[f"{name}_policy"].value == pytest.approx(float((deltas > 0).mean()))
        assert found[f"{name}_policy"].n == len(PROMPTS)
