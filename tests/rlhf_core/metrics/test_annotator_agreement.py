"""Agreement of annotators against published examples, hand counts and drawn votes."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rlhf_core.metrics.annotator_agreement import agreement_figures, cohen_kappas
from tests.rlhf_core.metrics.votes import ceiling_bounds, count_votes

KRIPPENDORFF_2011 = (  # four observers, twelve units; the example in section C has five values, here folded to three
    "1 2 3 3 2 1 1 1 2 . . .",
    "1 2 3 3 2 2 1 1 2 2 . 3",
    ". 3 3 3 2 3 1 2 2 2 1 .",
    "1 2 3 3 2 1 1 1 2 2 1 .",
)


def columns(lines: tuple[str, ...]) -> dict[str, list[str | None]]:
    verdicts = {"1": "first", "2": "second", "3": "tie", ".": None}
    return {f"observer {index}": [verdicts[cell] for cell in line.split()] for index, line in enumerate(lines)}


def drawn(flip_rate: float, pairs: int, annotators: int, seed: int) -> NDArray[np.int64]:
    """Counts of annotators who flip the better response, at random first or second, with the same probability."""
    rng = np.random.default_rng(seed)
    right = rng.binomial(annotators, 1 - flip_rate, pairs)
    first = np.where(rng.random(pairs) < 0.5, right, annotators - right)
    return np.stack([first, annotators - first, np.zeros(pairs, dtype=np.int64)], axis=1)


def plain_alpha(votes: dict[str, list[str | None]]) -> float:
    """Krippendorff's definition, couple by couple: observed over expected disagreement."""
    units = [[vote for vote in unit if vote is not None] for unit in zip(*votes.values(), strict=True)]
    units = [unit for unit in units if len(unit) > 1]
    values = [vote for unit in units for vote in unit]
    observed = sum(
        sum(a != b for a in unit for b in unit) / (len(unit) - 1) for unit in units
    ) / len(values)  # fmt: skip
    expected = sum(a != b for a in values for b in values) / (len(values) * (len(values) - 1))
    return 1 - observed / expected


def test_alpha_equals_its_definition_with_votes_missing() -> None:
    votes = columns(KRIPPENDORFF_2011)
    found = agreement_figures(count_votes(votes), np.arange(12))["krippendorff_alpha"]
    assert found.value == pytest.approx(plain_alpha(votes))
    assert found.lower < found.value < found.upper
    assert found.n == 11


def test_alpha_of_two_observers_by_hand() -> None:
    """Krippendorff (2011), section A: ten units, two values; one disagrees with the other in four: alpha .095."""
    said = {"one": "0100000010", "other": "1110010000"}
    votes = {name: [("first", "second")[int(cell)] for cell in cells] for name, cells in said.items()}
    found = agreement_figures(count_votes(votes), np.arange(10))
    assert found["krippendorff_alpha"].value == pytest.approx(0.095, abs=5e-4)
    assert found["raw_agreement"].value == pytest.approx(0.6)


@pytest.mark.parametrize("seed", range(5))
def test_alpha_of_votes_at_random_is_0_and_of_equal_votes_1(seed: int) -> None:
    random = agreement_figures(drawn(0.5, 1000, 3, seed), np.arange(1000))
    assert random["krippendorff_alpha"].value == pytest.approx(0.0, abs=0.06)
    equal = agreement_figures(drawn(0.0, 100, 3, seed), np.arange(100))
    assert equal["krippendorff_alpha"].value == 1.0
    assert (equal["flip_rate"].value, equal["best_against_three"].value) == (0.0, 1.0)


@settings(max_examples=25)
@given(st.lists(st.tuples(*[st.integers(0, 3)] * 3), min_size=2, max_size=12))
def test_figures_of_any_votes_are_shares_in_their_intervals(counts: list[tuple[int, int, int]]) -> None:
    for name, figure in agreement_figures(counts, np.arange(len(counts))).items():
        assert figure.n == 1 or -1.0 <= figure.lower <= figure.upper <= 1.0, name
        assert -1.0 <= figure.value <= 1.0, name


@pytest.mark.parametrize(("flip_rate", "annotators"), [(0.03, 3), (0.2, 2), (0.2, 7)])
def test_the_flip_rate_that_was_drawn_is_found(flip_rate: float, annotators: int) -> None:
    found = agreement_figures(drawn(flip_rate, 4000, annotators, seed=1), np.arange(4000))
    assert found["flip_rate"].value == pytest.approx(flip_rate, abs=0.02)
    assert found["flip_rate"].lower < flip_rate < found["flip_rate"].upper
    assert found["best_against_one"].value == pytest.approx(1 - flip_rate, abs=0.02)
    majority = (1 - flip_rate) ** 3 + 3 * flip_rate * (1 - flip_rate) ** 2
    assert found["best_against_three"].value == pytest.approx(majority, abs=0.025)


def test_figures_lie_in_their_intervals_and_flips_run_against_agreement() -> None:
    found = agreement_figures(drawn(0.1, 300, 3, seed=2), np.arange(300))
    for name, figure in found.items():
        assert figure.lower <= figure.value <= figure.upper, name
    assert found["best_against_one"].lower == pytest.approx(1 - found["flip_rate"].upper)


def test_equal_difficulty_gives_the_upper_bound_on_the_ceiling() -> None:
    votes = drawn(0.15, 2000, 5, seed=3)
    bound = ceiling_bounds(votes[:, 0].tolist(), votes[:, 1].tolist())
    best = agreement_figures(votes, np.arange(2000))["best_against_one"].value
    assert best == pytest.approx(bound.ceiling_to)


def test_ties_are_a_verdict_for_agreement_and_none_for_mistakes() -> None:
    found = agreement_figures([[2, 0, 1], [0, 3, 0], [0, 1, 1], [1, 0, 0]], np.arange(4))
    assert found["raw_agreement"].value == pytest.approx((1 / 3 + 1 + 0) / 3)
    assert found["raw_agreement"].n == 3
    assert found["flip_rate"].value == 0.0
    assert found["flip_rate"].n == 2


def test_pairs_of_one_prompt_widen_the_interval() -> None:
    votes = np.repeat(drawn(0.2, 300, 2, seed=4), 10, axis=0)
    alone = agreement_figures(votes, np.arange(3000))["raw_agreement"]
    together = agreement_figures(votes, np.repeat(np.arange(300), 10))["raw_agreement"]
    assert together.value == alone.value
    assert (together.upper - together.lower) / (alone.upper - alone.lower) == pytest.approx(math.sqrt(10), rel=0.15)


@pytest.mark.parametrize("counts", [[], [[1, 0, 0], [0, 1, 0], [0, 0, 1]]])
def test_single_votes_say_nothing(counts: list[list[int]]) -> None:
    assert agreement_figures(counts, np.arange(len(counts))) == {}


def test_ties_alone_leave_mistakes_and_alpha_unknown() -> None:
    assert set(agreement_figures([[0, 0, 2], [0, 0, 3]], np.arange(2))) == {"raw_agreement"}


def test_a_kappa_by_hand() -> None:
    """20 both first, 5 and 10 apart, 15 both second: .70 agree, .50 by chance (Wikipedia, Cohen's kappa)."""
    one = ["first"] * 25 + ["second"] * 25
    other = ["first"] * 20 + ["second"] * 5 + ["first"] * 10 + ["second"] * 15
    found = cohen_kappas({"ann": one, "bo": other}, np.arange(50))
    assert list(found) == ["kappa of ann and bo"]
    assert found["kappa of ann and bo"].value == pytest.approx(0.4)
    assert found["kappa of ann and bo"].n == 50


@pytest.mark.slow
def test_kappas_are_of_what_both_saw() -> None:
    one = ["first", "second"] * 20
    votes = {"ann": one + [None] * 40, "bo": one + one, "cy": [None] * 20 + one + ["tie"] * 20}
    found = cohen_kappas(votes, np.arange(80))
    assert {name: figure.n for name, figure in found.items()} == {"kappa of ann and bo": 40, "kappa of bo and cy": 60}
    assert found["kappa of ann and bo"].value == 1.0
    assert found["kappa of bo and cy"].value < 1.0


def test_pairs_of_few_groups_say_no_kappa() -> None:
    votes = {"ann": ["first", "second"] * 30, "bo": ["first", "first", "second"] * 20}
    assert cohen_kappas(votes, np.arange(60) // 3) == {}
    (kappa,) = cohen_kappas(votes, np.arange(60) // 2).values()
    assert kappa.n == 30


def test_annotators_who_always_say_the_same_have_no_kappa() -> None:
    assert cohen_kappas({"ann": ["first"] * 50, "bo": ["first"] * 50}, np.arange(50)) == {}


@pytest.mark.slow
def test_the_couples_who_share_most_are_shown() -> None:
    votes = {f"{index:02}": ["first", "second"] * 15 + [None] * index + ["tie"] * (10 - index) for index in range(6)}
    found = cohen_kappas(votes, np.arange(40))
    assert len(found) == 10
    assert {figure.n for figure in found.values()} == {40 - index for index in range(1, 5)}


@pytest.mark.slow
@pytest.mark.skipif("RLHF_DATA" not in os.environ, reason="RLHF_DATA names no folder with the real files")
def test_pandalm_has_the_kappas_that_its_authors_report() -> None:
    rows = json.loads((Path(os.environ["RLHF_DATA"]) / "pandalm/testset-v1.json").read_text())
    verdicts = ("tie", "first", "second")
    votes = {f"annotator {number}": [verdicts[row[f"annotator{number}"]] for row in rows] for number in (1, 2, 3)}
    prompts = [f"{row['instruction']}\n{row['input']}" for row in rows]
    kappas = cohen_kappas(votes, prompts)
    assert [round(figure.value, 2) for figure in kappas.values()] == [0.85, 0.88, 0.86]
    assert all(figure.lower < figure.value < figure.upper for figure in kappas.values())
    found = agreement_figures(count_votes(votes), prompts)
    assert found["flip_rate"].value == pytest.approx(0.027, abs=5e-4)  # 2482 of 2620 couples agree
    assert found["krippendorff_alpha"].value == pytest.approx(0.8642207, abs=1e-7)  # the krippendorff package, 0.9.0
