"""Accuracy by subset and section, as RewardBench counts it, with intervals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.metrics.estimates import Estimate, proportion
from rlhf_core.metrics.reward_bench import SECTIONS, accuracy, judge_pairs, section_accuracies, weigh


def names(count: int) -> np.ndarray:
    return np.array([f"prompt {index}" for index in range(count)])


def test_a_tie_is_a_miss_and_single_prompts_have_the_interval_of_wilson() -> None:
    assert accuracy(np.array([1.0, 0.0, -1.0, 2.0]), names(4)) == proportion(2, 4)


def test_pairs_of_one_prompt_are_no_independent_trials() -> None:
    wins = np.repeat([1.0, -1.0], 50)
    alone = accuracy(wins, names(100))
    shared = accuracy(wins, np.repeat(names(4), 25))
    assert shared.value == alone.value == 0.5
    assert shared.upper - shared.lower > 2 * (alone.upper - alone.lower)


def test_sections_weigh_subsets_as_rewardbench_does() -> None:
    found = {"math-prm": proportion(447, 447), "hep-go": proportion(0, 164), "of no section": proportion(1, 2)}
    sections = section_accuracies(found)
    assert list(sections) == ["Reasoning"]
    assert sections["Reasoning"].value == pytest.approx(984 / (984 + 164))
    assert sections["Reasoning"].n == 447 + 164


def test_code_counts_for_as_much_as_mathematics() -> None:
    reasoning = dict(SECTIONS["Reasoning"])
    assert reasoning.pop("math-prm") == sum(reasoning.values()) == 984
    assert [len(subsets) for subsets in SECTIONS.values()] == [5, 6, 5, 7]


def test_one_estimate_keeps_its_interval_and_several_add_up_as_errors_do() -> None:
    alone = weigh([proportion(7, 10)], [3])
    assert alone == pytest.approx(proportion(7, 10))
    four = weigh([Estimate(0.5, 0.4, 0.7, 10)] * 4, [1] * 4)
    assert four == pytest.approx((0.5, 0.5 - 0.1 / 2, 0.5 + 0.2 / 2, 40))


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9)), min_size=1, max_size=6))
def test_a_weighted_mean_lies_in_its_interval_within_those_of_its_parts(parts: list[tuple[int, int]]) -> None:
    estimates = [proportion(wins, 20) for wins, _ in parts]
    found = weigh(estimates, [weight for _, weight in parts])
    assert min(e.lower for e in estimates) - 1e-12 <= found.lower <= found.value + 1e-12
    assert found.value - 1e-12 <= found.upper <= max(e.upper for e in estimates) + 1e-12


def test_the_interval_of_a_section_holds_the_truth_about_95_times_in_100() -> None:
    rng, truths, counts = np.random.default_rng(1), (0.9, 0.6, 0.75), (30, 100, 60)
    held = 0
    for _ in range(400):
        found = weigh([proportion(int(rng.binomial(n, p)), n) for p, n in zip(truths, counts, strict=True)], [1, 2, 5])
        held += found.lower <= float(np.dot(truths, (1, 2, 5)) / 8) <= found.upper
    assert 0.92 <= held / 400 <= 0.98


def test_figures_of_a_model_by_hand() -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(0.0, 2.0, size=3000)
    right = np.where(rng.random(3000) < 1 / (1 + np.exp(-np.abs(logits))), 1.0, -1.0)
    deltas = np.abs(logits) * right / 2.0  # half as sure as it should be
    subsets = np.where(np.arange(3000) % 3 == 0, "hep-go", "mine").tolist()
    found = judge_pairs(deltas, names(3000).tolist(), subsets, temperature=4.0)
    assert list(found.subsets) == ["hep-go", "mine"]
    assert found.subsets["hep-go"].value == np.mean(deltas[::3] > 0)
    assert found.subset_nll["mine"].value == pytest.approx(np.delete(np.log1p(np.exp(-deltas)), np.s_[::3]).mean())
    assert found.accuracy.value == np.mean(deltas > 0)
    assert list(found.sections) == ["Reasoning"] and found.section_mean is None
    assert found.calibration["temperature"].value == 4.0
    assert found.calibration["fitted_temperature"].value == pytest.approx(2.0, rel=0.15)
    assert found.calibration["nll"].value == pytest.approx(np.log1p(np.exp(-deltas)).mean())
    assert found.ties == 0


def test_the_mean_of_sections_is_there_with_all_four_only() -> None:
    firsts = [next(iter(subsets)) for subsets in SECTIONS.values()]
    deltas = np.array([1.0, -1.0, 1.0, 1.0, 0.0, 1.0])
    subsets = [*firsts, firsts[3], firsts[3]]
    found = judge_pairs(deltas, names(6).tolist(), subsets, temperature=1.0)
    assert found.section_mean is not None
    assert found.section_mean.value == pytest.approx((1.0 + 0.0 + 1.0 + 2 / 3) / 4)
    assert found.ties == 1
