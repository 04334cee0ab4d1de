"""Which choices are sent to be labelled: each rule by hand, and what a real ensemble says of choices."""

import random
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality.label_spending import labels_for
from rlhf_core.base.embedded import pretrain
from rlhf_core.config.base import PretrainConfig
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.data.records import Choice
from rlhf_core.data.tokenizer import load_tokenizer
from rlhf_core.label_spending import Asking, chosen_by, member_gaps, spend_labels
from rlhf_core.models.ensembles import Aggregation, store_aggregation
from rlhf_core.models.loading import load_reward_model, save
from rlhf_core.training.stage import finish

CHOICES = [Choice(f"how do i mend {number} ?", f"turn {number} off", f"leave {number} alone") for number in range(40)]
GAPS = np.random.default_rng(1).normal(size=(40, 3))


def test_uncertainty_takes_the_gaps_nearest_to_even() -> None:
    chosen = chosen_by("uncertainty", CHOICES, 10, GAPS, seed=1)
    left = sorted({*range(40)} - {*chosen})
    sizes = np.abs(GAPS.mean(axis=1))
    assert len(chosen) == 10 and sizes[chosen].max() < sizes[left].min()


def test_disagreement_takes_the_gaps_that_members_spread_most_about_whatever_their_mean() -> None:
    chosen = chosen_by("disagreement", CHOICES, 10, GAPS + np.arange(40)[:, None], seed=1)
    left = sorted({*range(40)} - {*chosen})
    spreads = GAPS.std(axis=1)
    assert spreads[chosen].min() > spreads[left].max()


def test_equal_gaps_are_drawn_by_the_seed_and_not_by_their_place() -> None:
    even = np.zeros((40, 2))
    for rule in ("uncertainty", "disagreement"):
        one, other = (chosen_by(rule, CHOICES, 10, even, seed=seed) for seed in (1, 2))
        assert one != other and one != list(range(10)) and one == chosen_by(rule, CHOICES, 10, even, seed=1)


def test_coverage_takes_one_of_each_kind_before_a_second_of_any() -> None:
    kinds = ["tap water drips", "printer paper jam", "invoice money late", "cat food bowl"]
    choices = [Choice(kinds[at % 4], f"{kinds[at % 4]} yes", f"{kinds[at % 4]} no") for at in range(40)]
    for seed in range(5):
        chosen = spend_labels(choices, 4, "coverage", seed=seed)
        assert {choices[at].prompt for at in chosen} == {*kinds}
    assert len({*spend_labels(choices, 30, "coverage", seed=1)}) == 30


def test_chance_draws_each_choice_about_as_often_and_labels_enough_take_all() -> None:
    counts = np.bincount(np.concatenate([spend_labels(CHOICES, 10, "uniform", seed=seed) for seed in range(200)]))
    assert len(counts) == 40 and counts.min() > 25 and counts.max() < 80
    assert spend_labels(CHOICES, 40, "disagreement", seed=1) == list(range(40))


def test_a_rule_that_asks_a_model_wants_one_and_disagreement_wants_several_members() -> None:
    with pytest.raises(ValueError, match="rule uncertainty asks a reward model"):
        spend_labels(CHOICES, 5, "uncertainty", seed=1)
    with pytest.raises(ValueError, match=r"set reward_model\.heads to 2 or more"):
        chosen_by("disagreement", CHOICES, 5, GAPS[:, :1], seed=1)


def test_members_are_asked_about_both_responses(tmp_path: Path) -> None:
    """The gap of a choice turned round is the opposite, and that of a response beside itself is 0."""
    config = PretrainConfig(width=16, layers=1, heads=2, documents=50, steps=1, batch_size=2)
    base = finish(pretrain(config, out=tmp_path / "base", seed=1)).artifacts["base"]
    tokenizer = load_tokenizer(str(base))
    model = load_reward_model(base, tokenizer, heads=3)
    store_aggregation(model.config, Aggregation())
    save(model, tokenizer, tmp_path / "reward_model")
    asking = Asking(tmp_path / "reward_model", RewardModelConfig(heads=3))
    words = sorted(word for word in tokenizer.get_vocab() if word.isalpha())
    rng = random.Random(1)
    choices = [Choice(*(" ".join(rng.choices(words, k=6)) for _ in range(3))) for _ in range(5)]
    gaps = member_gaps(asking, choices)
    turned = member_gaps(asking, [Choice(prompt, second, first) for prompt, first, second in choices])
    same = member_gaps(asking, [Choice(prompt, first, first) for prompt, first, _ in choices])
    assert gaps.shape == (5, 3) and np.abs(gaps).min() > 0 and np.allclose(gaps, -turned, atol=1e-6)
    assert np.allclose(same, 0.0, atol=1e-6)


def test_labels_for_an_agreement_are_read_off_the_line_between_points() -> None:
    points = [{"labels": 100, "agreement": 0.6}, {"labels": 200, "agreement": 0.7}, {"labels": 300, "agreement": 0.68}]
    assert labels_for(points, 0.65) == pytest.approx(150)
    assert labels_for(points, 0.5) == 100 and labels_for(points, 0.8) is None
