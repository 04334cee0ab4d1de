"""Figures of length and of ensembles, on scores that are known."""

import re

import numpy as np
import pytest
import yaml
from scipy.stats import pearsonr

from rlhf_core.data.records import Demonstration, Pair
from rlhf_core.gates.defaults import DEFAULT_REWARD_MODEL_GATES
from rlhf_core.gates.gate import Gate, judge
from rlhf_core.metrics.agreement import floor_hits
from rlhf_core.metrics.ensemble import mean_disagreement, member_correlation
from rlhf_core.metrics.length_bias import agreement_by_slice, length_correlation, weighted_pearson
from rlhf_core.metrics.reward_model import ScoredPairs, evaluate_scores
from tests.conftest import ROOT

N = 400
RNG = np.random.default_rng(0)
TEXTS = ["word " * count for count in RNG.integers(1, 30, N)]
WORDS = np.array([len(text.split()) for text in TEXTS], dtype=np.float64)
PROMPTS = np.arange(N) // 2


def of_words(count: int) -> str:
    return " ".join(["word"] * count)


# Length


def test_the_correlation_with_length_is_that_of_scipy_and_its_interval_that_of_fisher() -> None:
    scores = 0.05 * WORDS + RNG.normal(0.0, 1.0, N)
    found = length_correlation(scores, TEXTS, np.arange(N))
    expected = pearsonr(scores, WORDS)
    fisher = expected.confidence_interval(0.95)
    assert found.value == pytest.approx(expected.statistic)
    assert (found.lower, found.upper) == pytest.approx((fisher.low, fisher.high), abs=0.03)
    assert found.n == N


def test_scores_that_are_lengths_or_say_nothing() -> None:
    assert length_correlation(-3.0 * WORDS, TEXTS, PROMPTS).value == pytest.approx(-1.0)
    assert length_correlation(np.ones(N), TEXTS, PROMPTS) == (0.0, 0.0, 0.0, N // 2)


def test_the_interval_holds_0_where_scores_know_nothing_of_length() -> None:
    found = [length_correlation(np.random.default_rng(seed).normal(size=N), TEXTS, PROMPTS) for seed in range(20)]
    assert sum(one.lower < 0.0 < one.upper for one in found) >= 17


def test_a_weight_of_2_counts_an_observation_twice() -> None:
    first, second, weights = RNG.normal(size=6), RNG.normal(size=6), np.array([2.0, 1.0, 0.0, 1.0, 3.0, 1.0])
    repeated = np.repeat(np.arange(6), weights.astype(int))
    expected = np.corrcoef(first[repeated], second[repeated])[0, 1]
    assert weighted_pearson(weights, first, second) == pytest.approx(expected)


def test_slices_by_hand() -> None:
    lengths = [(10, 8), (8, 10), (10, 7), (7, 10), (20, 1), (5, 5)]  # 0.8 is like, 0.7 is not
    pairs = [Pair(f"p{index}", of_words(one), of_words(other)) for index, (one, other) in enumerate(lengths)]
    deltas = np.array([0.1, -0.2, 3.0, -4.0, 0.0, 5.0])
    found = agreement_by_slice(deltas, pairs)
    assert {name: (figure.value, figure.n) for name, figure in found.items()} == {
        "length_matched_agreement": (pytest.approx(2 / 3), 3),
        "agreement_chosen_longer": (0.75, 2),
        "agreement_chosen_shorter": (0.0, 1),
        "agreement_low_confidence": (0.75, 2),  # of 0.0 and 0.1
        "agreement_middle_confidence": (0.5, 2),
        "agreement_high_confidence": (0.5, 2),
    }


def test_slices_of_length_are_a_partition_and_an_empty_one_is_left_out() -> None:
    pairs = [Pair("p", of_words(3), of_words(3))] * 2
    found = agreement_by_slice(np.array([1.0, -1.0]), pairs)
    assert set(found) == {"length_matched_agreement", "agreement_low_confidence", "agreement_middle_confidence"}


def test_a_model_that_goes_by_length_is_a_coin_where_people_did_not() -> None:
    """Of clearly unequal answers the longer one is chosen, of the others either."""
    rng = np.random.default_rng(1)
    pairs, words = [], []
    for index, (one, other) in enumerate(rng.integers(10, 40, (2000, 2))):
        like = min(one, other) >= 0.8 * max(one, other)
        chosen, rejected = (one, other) if like else (max(one, other), min(one, other))
        pairs.append(Pair(f"p{index}", of_words(chosen), of_words(rejected)))
        words.append(float(chosen - rejected))
    found = agreement_by_slice(np.array(words), pairs)
    matched = found["length_matched_agreement"]
    assert matched.lower < 0.5 < matched.upper
    assert matched.n > 500
    assert found["agreement_chosen_longer"].value == 1.0
    assert "agreement_chosen_shorter" not in found


# Ensembles


def test_member_correlation_is_the_mean_of_the_correlation_matrix_above_its_diagonal() -> None:
    deltas = RNG.normal(size=(N, 3)) + RNG.normal(size=(N, 1))
    found = member_correlation(deltas, PROMPTS)
    assert found.value == pytest.approx(np.corrcoef(deltas.T)[np.triu_indices(3, 1)].mean())
    assert 0.4 < found.lower < found.value < found.upper < 0.6
    assert found.n == N // 2


@pytest.mark.parametrize("scales", [(1.0, 1.0, 1.0), (1.0, 0.3, 5.0), (0.0, 0.0, 0.0)])
def test_members_that_are_one_and_the_same_correlate_fully(scales: tuple[float, ...]) -> None:
    deltas = np.outer(RNG.normal(size=N), scales)
    found = member_correlation(deltas, PROMPTS)
    assert (found.value, found.lower, found.upper) == pytest.approx((1.0, 1.0, 1.0), abs=1e-12)


def test_mean_disagreement_is_the_mean() -> None:
    spreads = RNG.random(N)
    assert mean_disagreement(spreads, PROMPTS).value == pytest.approx(spreads.mean())


# Together


def floors(pairs: list[Pair]) -> dict[str, np.ndarray]:
    return floor_hits([], pairs, [pair.prompt for pair in pairs])


def scored(members: np.ndarray) -> tuple[ScoredPairs, list[Pair]]:
    """N / 2 pairs of the texts, as scored by members, whose mean is the score."""
    items = [Demonstration(f"p{prompt}", text) for prompt, text in zip(PROMPTS, TEXTS, strict=True)]
    pairs = [Pair(items[index].prompt, TEXTS[index], TEXTS[index + 1]) for index in range(0, N, 2)]
    places = list(range(0, N, 2))
    spreads = members.std(axis=1)
    others = [index + 1 for index in places]
    return ScoredPairs(items, members, members.mean(axis=1), spreads, places, others, np.ones(N // 2)), pairs


def test_figures_of_scores_are_those_of_their_parts() -> None:
    members = RNG.normal(size=(N, 3))
    found, pairs = scored(members)
    figures = evaluate_scores(found, 2.0, pairs, floors(pairs))
    margins = members[::2].mean(axis=1) - members[1::2].mean(axis=1)
    assert figures["agreement"].value == pytest.approx((margins > 0).mean())
    assert figures["disagreement"].value == pytest.approx(members.std(axis=1).mean() / 2.0)
    assert figures["disagreement"].n == figures["length_correlation"].n == N // 2
    by_member = members[::2] - members[1::2]
    assert figures["member_correlation"] == member_correlation(by_member, [pair.prompt for pair in pairs])
    assert figures["length_correlation"].value == pytest.approx(np.corrcoef(members.mean(axis=1), WORDS)[0, 1])
    assert set(agreement_by_slice(margins, pairs)) <= set(figures)


def test_a_single_head_has_no_figures_of_members() -> None:
    found, pairs = scored(RNG.normal(size=(N, 1)))
    assert {"disagreement", "member_correlation"}.isdisjoint(evaluate_scores(found, 1.0, pairs, floors(pairs)))


GUIDE = (ROOT / "docs" / "guide" / "reward_model.md").read_text()
DOCUMENTED = [
    Gate.model_validate(gate)
    for block in re.findall(r"```yaml\n(- name.*?)```", GUIDE, re.DOTALL)
    for gate in yaml.safe_load(block)
]


def test_documented_gates_judge_figures_that_there_are() -> None:
    found, pairs = scored(RNG.normal(size=(N, 3)))
    of_policies = {"reward_disagreement_gain"}
    assert len(DOCUMENTED) >= 2
    assert {gate.metric for gate in DOCUMENTED} - of_policies <= set(evaluate_scores(found, 1.0, pairs, floors(pairs)))


def test_a_gate_stops_an_ensemble_of_identical_members_and_no_other() -> None:
    (gate,) = (gate for gate in DEFAULT_REWARD_MODEL_GATES if gate.metric == "member_correlation")
    one, apart = RNG.normal(size=(N, 1)), RNG.normal(size=(N, 3))
    for members, status in ((np.repeat(one, 3, axis=1), "fail"), (one + 0.3 * apart, "pass")):
        found, pairs = scored(members)
        (verdict,) = judge([gate], evaluate_scores(found, 1.0, pairs, floors(pairs)))
        assert verdict.status == status
