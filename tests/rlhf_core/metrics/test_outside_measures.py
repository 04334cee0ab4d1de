"""Figures of outside measures, counted by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.metrics.outside_measures import compare_models

SCORES = {"worth": {"base": [0.0, 1.0, 2.0, 3.0], "sft": [1.0, 1.0, 1.0, 5.0], "policy": [2.0, 0.0, 1.0, 6.0]}}


def test_each_model_is_compared_with_the_one_before_it_on_the_same_prompts() -> None:
    figures = {name: estimate.value for name, estimate in compare_models(SCORES).items()}
    assert figures == {
        "base_worth": 1.5,
        "sft_worth": 2.0,
        "sft_worth_gain": 0.5,  # (1 + 0 - 1 + 2) / 4
        "sft_worth_win_rate": 0.625,  # won, tied, lost, won
        "policy_worth": 2.25,
        "policy_worth_gain": 0.25,  # (1 - 1 + 0 + 1) / 4, not the .75 over the base
        "policy_worth_win_rate": 0.625,
    }


def test_n_counts_prompts_and_pairs_narrow_the_interval_of_a_gain() -> None:
    before = [float(number) for number in range(40)]
    after = [value + 1.0 + 0.1 * (index % 2) for index, value in enumerate(before)]
    figures = compare_models({"worth": {"sft": before, "policy": after}})
    assert {estimate.n for estimate in figures.values()} == {40}
    gain, alone = figures["policy_worth_gain"], figures["policy_worth"]
    assert gain.lower > 1.0 and gain.upper - gain.lower < 0.1 < 1.0 < alone.upper - alone.lower


@given(st.floats(-50, 50))
def test_a_constant_in_a_measure_moves_its_means_alone(shift: float) -> None:
    moved = {"worth": {model: [value + shift for value in values] for model, values in SCORES["worth"].items()}}
    before, after = compare_models(SCORES), compare_models(moved)
    for name in before:
        expected = before[name].value + (shift if name.count("_") == 1 else 0.0)
        assert after[name].value == pytest.approx(expected, abs=1e-9)


def test_measures_do_not_mix() -> None:
    other = {"other": {"base": [1.0, 1.0], "sft": [0.0, 0.0]}}
    both = compare_models({**SCORES, **other})
    assert both == {**compare_models(SCORES), **compare_models(other)}
    assert both["sft_other_gain"].value == -1.0
