"""Figures of each rater against other computations of the same, and the verdicts that they are shown with."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from rlhf_core.metrics.raters import LIKES_LENGTH, RANDOM, measure_raters, one_coin_accuracies, verdicts_of
from tests.rlhf_core.metrics.test_rater_evidence import lengths, simulated, votes

PEOPLE = {"ann": 0.0, "bo": 0.1, "cy": 0.2, "coin": 1.0}


def test_kappa_with_one_other_is_that_of_scikit_learn_ties_too() -> None:
    rng = np.random.default_rng(1)
    one = rng.integers(-1, 2, 300)
    other = np.where(rng.random(300) < 0.6, one, rng.integers(-1, 2, 300))
    rows = [
        (name, pair, pair, int(side)) for pair in range(300) for name, side in (("a", one[pair]), ("b", other[pair]))
    ]
    kappa = measure_raters(votes(rows))["a"].kappa
    assert kappa is not None and kappa.value == pytest.approx(cohen_kappa_score(one, other), abs=1e-12)
    assert kappa.lower < kappa.value < kappa.upper and kappa.n == 300


def test_accuracy_is_near_that_of_raters_on_pairs_that_are_equally_hard() -> None:
    said = simulated(PEOPLE, 3000, seed=2, spread=1000.0)
    accuracies = one_coin_accuracies(said)
    assert accuracies == pytest.approx({"ann": 1.0, "bo": 0.95, "cy": 0.9, "coin": 0.5}, abs=0.03)


def test_gold_questions_are_counted_on_their_pairs_alone_and_a_tie_is_no_hit() -> None:
    rows = [("a", 0, 0, 1), ("a", 1, 1, -1), ("a", 2, 2, 0), ("a", 3, 3, 1), ("b", 3, 3, 1)]
    figures = measure_raters(votes(rows), {0: 1, 1: 1, 2: 1})
    gold = figures["a"].gold
    assert gold is not None and gold.value == pytest.approx(1 / 3) and gold.n == 3
    assert figures["b"].gold is None
    assert (figures["a"].labels, figures["a"].shared) == (4, 1)


def test_liking_of_length_is_beyond_the_others_on_the_same_pairs() -> None:
    figures = measure_raters(lengths(0.4, 600, seed=1))
    longer = figures["long"].longer
    assert longer is not None and longer.lower < 0.4 < longer.upper and longer.lower > 0.3
    assert figures["long"].verdicts == (LIKES_LENGTH,) and figures["ann"].verdicts == ()


def test_few_pairs_say_no_figure_with_an_interval() -> None:
    figures = measure_raters(simulated(PEOPLE, 20, seed=1))["ann"]
    assert figures.kappa is None and figures.longer is None and figures.evidence > 0


def test_verdicts_are_those_of_the_figures() -> None:
    said = simulated(PEOPLE | {"di": 0.0}, 1200, seed=7)
    figures = measure_raters(said)
    assert {name: item.verdicts for name, item in figures.items()} == verdicts_of(said)
    assert figures["coin"].verdicts == (RANDOM,) and figures["coin"].evidence >= figures["coin"].needed
    assert all(not item.verdicts for name, item in figures.items() if name != "coin")


def test_no_votes_are_no_raters() -> None:
    assert measure_raters(votes([("", 0, 0, 1)])) == {}
