"""Reward models of known kinds, drawn at random, get the figures and the verdicts that they deserve."""

import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from data_contracts.formats.convert import convert_rows
from data_contracts.formats.registry import FORMATS
from flows.data.files import read_file
from rlhf_core.data.records import Demonstration, Pair
from rlhf_core.gates.champion import REWARD_MODEL_CHAMPION_GATES
from rlhf_core.gates.defaults import DEFAULT_REWARD_MODEL_GATES
from rlhf_core.gates.gate import blocked, judge
from rlhf_core.gates.stress import STRESS_GATES
from rlhf_core.metrics.agreement import floor_hits
from rlhf_core.metrics.calibration import (
    abs_delta_median,
    abs_delta_ratio,
    expected_calibration_error,
    expected_median,
    fit_temperature,
    hits,
    losses,
    overconfidence_gap,
    share_in_band,
)
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.reward_model import ScoredPairs, demonstration_figures, evaluate_margins, evaluate_scores

N = 2000
SPREAD = 1.37  # of a calibrated reward model that agrees on 72 % of the pairs
ALONE = np.arange(N)


def sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1.0 / (1.0 + np.exp(-values))


def calibrated_margins(seed: int, n: int = N, spread: float = SPREAD) -> NDArray[np.float64]:
    """The better response by the model's own count is the chosen one with probability sigmoid(|delta|)."""
    rng = np.random.default_rng(seed)
    sizes = np.abs(rng.normal(0.0, spread, n))
    return np.where(rng.random(n) < sigmoid(sizes), sizes, -sizes)


def pairs(seed: int, n: int = N) -> list[Pair]:
    """Two pairs a prompt of random words: no trivial rule can tell."""
    rng = np.random.default_rng(seed)
    words = np.array(["check", "clean", "the", "drain", "tap", "door"])
    texts = [" ".join(rng.choice(words, rng.integers(3, 9))) for _ in range(2 * n)]
    return [Pair(f"prompt {index // 2}", texts[2 * index], texts[2 * index + 1]) for index in range(n)]


HELD_OUT = pairs(0)
TRAIN = pairs(1, 1000)
DEMONSTRATIONS = [Demonstration(f"demonstrated {index}", "check the tap") for index in range(400)]

# Temperature


@given(seed=st.integers(0, 1000), temperature=st.floats(0.2, 5.0))
def test_the_temperature_that_scaled_calibrated_margins_is_found(seed: int, temperature: float) -> None:
    assert fit_temperature(calibrated_margins(seed) * temperature) == pytest.approx(temperature, rel=0.15)


def test_no_other_temperature_explains_the_preferences_better() -> None:
    margins = calibrated_margins(2) * 2.0
    best = fit_temperature(margins)
    grid = np.exp(np.linspace(np.log(0.05), np.log(20.0), 400))
    likelihoods = [np.log1p(np.exp(-margins / temperature)).mean() for temperature in grid]
    assert best == pytest.approx(grid[np.argmin(likelihoods)], rel=0.02)


@pytest.mark.parametrize(("sign", "end"), [(1.0, 0.05), (-1.0, 20.0)])
def test_margins_that_are_all_right_or_all_wrong_stop_at_an_end_of_the_range(sign: float, end: float) -> None:
    assert fit_temperature(sign * np.linspace(0.5, 2.0, 50)) == pytest.approx(end, rel=0.05)


def test_a_temperature_of_no_margins_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one held-out pair"):
        fit_temperature([])


# Figures of one model


def test_losses_are_negative_log_likelihoods_and_never_overflow() -> None:
    margins = np.array([-3.0, 0.0, 2.0])
    assert losses(margins) == pytest.approx(-np.log(sigmoid(margins)))
    assert losses(np.array([-1e4, 1e4])) == pytest.approx([1e4, 0.0])


@given(margin=st.floats(-20.0, 20.0), votes=st.lists(st.booleans(), min_size=1, max_size=20))
def test_the_loss_of_votes_is_the_mean_over_them(margin: float, votes: list[bool]) -> None:
    each = [losses(np.array([margin if vote else -margin]))[0] for vote in votes]
    assert losses(np.array([margin]), [np.mean(votes)])[0] == pytest.approx(np.mean(each), abs=1e-12)


def voted(seed: int, *, told: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Margins of a model that claims how many of 17 people prefer a response, and their shares for the chosen one.

    Log-odds of a pair are what the model can tell, with a spread of `told`, and what it cannot, with one of 1; so the
    margins that are calibrated are the log-odds of the mean probability.
    """
    rng = np.random.default_rng(seed)
    known, unknown = rng.normal(0.0, told, 20_000), rng.normal(size=20_000)
    chances = sigmoid(known + np.quantile(rng.normal(size=9_999), np.linspace(0.01, 0.99, 99))[:, None]).mean(axis=0)
    shares = rng.binomial(17, sigmoid(known + unknown)) / 17
    margins = np.log(chances / (1.0 - chances))
    return np.where(shares > 0.5, margins, -margins), np.maximum(shares, 1.0 - shares)


def test_claims_about_votes_are_judged_by_the_votes() -> None:
    margins, shares = voted(4, told=1.5)
    prompts = np.arange(len(margins))
    assert fit_temperature(margins, shares) == pytest.approx(1.0, abs=0.03)
    assert overconfidence_gap(margins, prompts, shares).value == pytest.approx(0.0, abs=0.01)
    assert expected_calibration_error(margins, prompts, shares).value < 0.01
    assert abs_delta_ratio(margins, prompts, shares).value == pytest.approx(1.0, abs=0.05)
    assert fit_temperature(margins) < 0.8  # a majority is surer than one person
    assert abs_delta_ratio(margins, prompts).value < 0.8


def test_a_tie_is_half_a_hit() -> None:
    assert hits(np.array([0.1, 0.0, -2.0])).tolist() == [1.0, 0.5, 0.0]


def test_the_band_holds_its_ends() -> None:
    margins = np.array([0.5, -4.0, 0.49, 4.01, 0.0, 1.0])
    assert share_in_band(margins, np.arange(6)).value == pytest.approx(0.5)


def test_the_median_margin_ignores_signs() -> None:
    found = abs_delta_median(np.array([-3.0, 1.0, 2.0]), np.arange(3))
    stretch = np.sqrt(3 / 2) * 4.302653 / 1.959964  # the percentiles are 1 and 3
    assert found[:3] == pytest.approx((2.0, 2.0 - stretch, 2.0 + stretch))


def test_overconfidence_is_what_is_claimed_less_what_is_true() -> None:
    margins = np.array([2.0, -2.0, 1.0, 3.0])
    expected = sigmoid(np.abs(margins)).mean() - 0.75
    assert overconfidence_gap(margins, np.arange(4)).value == pytest.approx(expected)


def test_calibration_error_against_a_plain_count() -> None:
    margins = calibrated_margins(3, 1000)
    margins *= np.abs(margins)  # small ones too small, large ones too large
    claimed, right = sigmoid(np.abs(margins)), margins > 0
    order = np.argsort(claimed)
    expected = np.mean([abs(claimed[part].mean() - right[part].mean()) for part in np.split(order, 10)])
    assert expected_calibration_error(margins, np.arange(1000)).value == pytest.approx(expected)


@given(seed=st.integers(0, 300))
@settings(max_examples=15)
def test_the_calibration_error_of_a_calibrated_model_stays_near_its_floor(seed: int) -> None:
    found = expected_calibration_error(calibrated_margins(seed), ALONE)
    assert found.value < 2.0 * 0.8 * np.sqrt(0.2 * 10 / N)
    assert found.lower <= found.value <= found.upper < 0.06


def test_1000_pairs_tell_a_calibrated_model_from_one_that_is_6_points_off() -> None:
    (gate,) = (gate for gate in DEFAULT_REWARD_MODEL_GATES if gate.metric == "ece")
    calibrated = [expected_calibration_error(calibrated_margins(seed, 1000), np.arange(1000)) for seed in range(20)]
    off = [expected_calibration_error(1.6 * calibrated_margins(seed, 1000), np.arange(1000)) for seed in range(20)]
    assert sum(verdict.status == "pass" for one in calibrated for verdict in judge([gate], {"ece": one})) >= 17
    assert sum(verdict.status == "pass" for one in off for verdict in judge([gate], {"ece": one})) <= 2


def test_the_interval_of_the_calibration_error_holds_the_truth() -> None:
    sizes = np.sort(np.abs(np.random.default_rng(4).normal(0.0, SPREAD, 1_000_000)))
    gaps = sigmoid(sizes * 1.6) - sigmoid(sizes)
    truth = np.mean([abs(part.mean()) for part in np.split(gaps, 10)])
    found = [expected_calibration_error(calibrated_margins(seed) * 1.6, ALONE) for seed in range(12)]
    assert sum(one.lower <= truth <= one.upper for one in found) >= 10


@pytest.mark.parametrize(("accuracy", "median"), [(0.63, 0.47), (0.69, 0.75), (0.72, 0.92), (0.77, 1.28), (0.85, 2.26)])
def test_the_expected_median_equals_that_of_drawn_models(accuracy: float, median: float) -> None:
    assert expected_median(accuracy) == pytest.approx(median, rel=0.05)


def test_the_expected_median_grows_with_the_accuracy_and_vanishes_without_any() -> None:
    medians = [expected_median(accuracy) for accuracy in np.linspace(0.5, 0.95, 46)]
    assert medians == sorted(medians)
    assert 0.0 < expected_median(0.3) == expected_median(0.5) < 0.01


@pytest.mark.parametrize("errors", [0, 1, 4, 20])
def test_margins_inside_the_band_are_never_small_where_nearly_all_labels_are_met(errors: int) -> None:
    margins = np.linspace(2.8, 3.9, 400)
    margins[:errors] *= -1.0
    assert share_in_band(margins, np.arange(400)).value == 1.0
    assert abs_delta_ratio(margins, np.arange(400)).lower > 0.6


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("spread", [0.7, 1.37, 3.35])
def test_the_ratio_of_medians_is_the_scale_of_the_margins(scale: float, spread: float) -> None:
    found = abs_delta_ratio(calibrated_margins(6, N, spread) * scale, ALONE)
    assert found.lower < scale < found.upper
    assert found.value == pytest.approx(scale, rel=0.15)


def test_the_ratio_of_medians_of_a_calibrated_model_is_1() -> None:
    found = abs_delta_ratio(calibrated_margins(9), ALONE)
    assert found.lower < 1.0 < found.upper


def test_figures_do_not_depend_on_the_order_of_the_pairs() -> None:
    margins, clusters = calibrated_margins(7, 600), np.arange(600) // 3
    order = np.random.default_rng(8).permutation(600)
    for figure in (abs_delta_median, abs_delta_ratio, expected_calibration_error, overconfidence_gap, share_in_band):
        assert figure(margins[order], clusters[order]) == pytest.approx(figure(margins, clusters))


# Floors


def test_floors_of_length_by_hand() -> None:
    held_out = [Pair("p", "a b c", "a"), Pair("p", "a", "b c"), Pair("p", "a b", "c d"), Pair("p", "a b", "c")]
    found = floor_hits([], held_out, ["p"] * 4)
    assert found["longest"].tolist() == [1.0, 0.0, 0.5, 1.0]
    assert found["shortest"].tolist() == [0.0, 1.0, 0.5, 0.0]


def test_a_bag_of_words_learns_a_telling_word() -> None:
    train = [Pair(f"p{index}", "sure , check the tap", "check the tap , boss") for index in range(50)]
    held_out = [Pair("q", "sure , clean it", "clean it , boss"), Pair("q", "clean it , boss", "sure , clean it")]
    assert floor_hits(train, held_out, ["q", "q"])["bag_of_words"].tolist() == [1.0, 0.0]


def test_a_bag_of_words_judges_no_group_that_it_has_learned_from() -> None:
    """Every group has a telling word of its own, so whoever knows the group is always right."""
    rng = np.random.default_rng(3)
    held_out, groups = [], []
    for group in range(300):
        telling, plain = (f"telling{group} the tap", f"plain{group} the tap")[:: rng.choice([-1, 1])]
        held_out += [Pair(f"q{group}{index}", f"{telling} {index}", f"{plain} {index}") for index in range(4)]
        groups += [f"group {group}"] * 4
    alone = [str(index) for index in range(len(groups))]
    assert floor_hits([], held_out, groups)["bag_of_words"].mean() == 0.5
    assert floor_hits([], held_out, alone)["bag_of_words"].mean() == 1.0


@pytest.mark.skipif("RLHF_DATA" not in os.environ, reason="RLHF_DATA names no folder with the real files")
def test_floors_of_the_real_sample_are_those_that_are_known() -> None:
    rows = read_file(Path(os.environ["RLHF_DATA"]) / "hh-rlhf/harmless-base-sample.jsonl.gz", "hh")
    frame = convert_rows("preferences", FORMATS["hh-rlhf"]["preferences"].convert, rows).frame
    held_out = [Pair(*texts) for texts in zip(frame["prompt"], frame["chosen"], frame["rejected"], strict=True)]
    found = floor_hits([], held_out, frame["group"].tolist())
    assert found["shortest"].mean() == pytest.approx(0.555, abs=0.01)
    assert 0.60 <= found["bag_of_words"].mean() <= 0.64


@pytest.mark.parametrize("train", [[], [Pair("p", "one", "two")]])
def test_a_bag_of_words_that_cannot_learn_cannot_tell(train: list[Pair]) -> None:
    assert floor_hits(train, [Pair("q", "three", "four")], ["q"])["bag_of_words"].tolist() == [0.5]


# Everything together

CEILING = Estimate(0.78, 0.76, 0.80, 1000)
OF_PAIRS = [gate for gate in DEFAULT_REWARD_MODEL_GATES if gate not in STRESS_GATES]
DEMONSTRATED = {
    "demonstrations_above_rejected": Estimate(0.5, 0.4, 0.6, 1000),
    "length_correlation": Estimate(0.0, -0.05, 0.05, 2000),
    "parameter_ratio": Estimate(1.0, 1.0, 1.0, 1),
}
"""Figures beside those of the margins."""


def floors(held_out: list[Pair], train: list[Pair] = TRAIN) -> dict[str, NDArray[np.float64]]:
    return floor_hits(train, held_out, [pair.prompt for pair in held_out])


def stopped_by(margins: NDArray[np.float64], held_out: list[Pair] = HELD_OUT) -> dict[str, str]:
    estimates = (
        evaluate_margins(margins, fit_temperature(margins), held_out, floors(held_out), ceiling=CEILING) | DEMONSTRATED
    )
    return {found.gate: found.explanation for found in blocked(judge(OF_PAIRS, estimates))}


KINDS = {
    "calibrated": calibrated_margins(10),
    "undertrained": 0.1 * calibrated_margins(11),
    "overconfident": 3.0 * calibrated_margins(12),
    "guessing": np.abs(calibrated_margins(13)) * np.random.default_rng(13).choice([-1.0, 1.0], N),
    "contrary": -calibrated_margins(14),
}


@cache
def what_stops(kind: str) -> dict[str, str]:
    return stopped_by(KINDS[kind])


def test_a_calibrated_model_passes_every_gate() -> None:
    assert what_stops("calibrated") == {}


@pytest.mark.parametrize(
    ("kind", "gate", "failure"),
    [
        ("undertrained", "delta-not-small", "undertrained"),
        ("undertrained", "delta-in-band", "outside [0.5, 4]"),
        ("undertrained", "near-temperature-scaled", "margins of the wrong size"),
        ("overconfident", "delta-not-large", "overconfident"),
        ("overconfident", "not-overconfident", "overconfident"),
        ("overconfident", "near-temperature-scaled", "margins of the wrong size"),
        ("guessing", "agrees", "disagrees"),
        ("guessing", "near-ceiling", "far from what the labels allow"),
        ("contrary", "agrees", "disagrees"),
        ("contrary", "better-than-chance", "less likely than a coin"),
    ],
)
def test_a_bad_model_is_stopped_by_name(kind: str, gate: str, failure: str) -> None:
    assert failure in what_stops(kind)[gate]


def test_margins_that_are_too_small_are_not_called_overconfident() -> None:
    assert not any("overconfident" in explanation for explanation in what_stops("undertrained").values())


def test_a_model_that_only_prefers_longer_answers_is_no_better_than_length() -> None:
    margins = calibrated_margins(15)
    held_out = [
        Pair(pair.prompt, "a b c", "a b") if margin > 0 else Pair(pair.prompt, "a b", "a b c")
        for pair, margin in zip(HELD_OUT, margins, strict=True)
    ]
    found = stopped_by(margins, held_out)
    assert list(found) == ["beats-floors"]
    assert "no better than length" in found["beats-floors"]


def test_agreement_above_the_floor_is_paired_against_the_best_floor() -> None:
    held_out, margins = HELD_OUT[:200], calibrated_margins(16, 200)
    found = evaluate_margins(margins, 1.0, held_out, floors(held_out, []))
    rules = floors(held_out, [])
    best = max(rules.values(), key=np.mean)
    assert found["agreement_above_floor"].value == pytest.approx((margins > 0).mean() - best.mean())
    assert found["floor_longest"].value == pytest.approx(rules["longest"].mean())


def test_the_temperature_changes_calibrated_figures_only() -> None:
    margins = calibrated_margins(17, 1000) * 2.0
    raw, scaled = (
        evaluate_margins(margins, temperature, HELD_OUT[:1000], floors(HELD_OUT[:1000], []))
        for temperature in (1.0, 2.0)
    )
    changed = {name for name in raw if raw[name] != scaled[name]}
    assert changed == {"ece", "nll", "nll_above_calibrated"}
    assert raw["ece"] == raw["ece_uncalibrated"]
    assert raw["nll_above_calibrated"].value == 0.0
    assert scaled["nll"].value == pytest.approx(np.log1p(np.exp(-margins / 2.0)).mean())


def test_the_share_of_the_ceiling_is_there_where_the_ceiling_is_known() -> None:
    margins = calibrated_margins(18, 500)
    assert "share_of_ceiling" not in evaluate_margins(margins, 1.0, HELD_OUT[:500], floors(HELD_OUT[:500], []))
    found = evaluate_margins(margins, 1.0, HELD_OUT[:500], floors(HELD_OUT[:500], []), ceiling=CEILING)
    share, agreement = found["share_of_ceiling"], found["agreement"]
    assert share == pytest.approx((agreement.value / 0.78, agreement.lower / 0.80, agreement.upper / 0.76, 250))


def test_labels_without_a_known_ceiling_do_not_stop_a_calibrated_model() -> None:
    estimates = evaluate_margins(KINDS["calibrated"], 1.0, HELD_OUT, floors(HELD_OUT)) | DEMONSTRATED
    assert blocked(judge(OF_PAIRS, estimates)) == []


def test_every_figure_lies_in_its_interval_and_counts_prompts() -> None:
    for name, found in evaluate_margins(
        calibrated_margins(19), 1.0, HELD_OUT, floors(HELD_OUT), ceiling=CEILING
    ).items():
        assert found.lower <= found.value <= found.upper, name
        assert found.n == N // 2, name
        assert name != "judged_pairs" or found.value == N


def test_every_default_gate_finds_its_figure() -> None:
    margins = calibrated_margins(20, 200)
    scored = scored_pairs(np.stack([margins, margins], axis=1))
    found = evaluate_scores(scored, 1.0, HELD_OUT[:200], floors(HELD_OUT[:200], []), ceiling=CEILING)
    found |= demonstration_figures(margins, DEMONSTRATIONS[:200], scored, 1.0, HELD_OUT[:200])
    assert {gate.metric for gate in DEFAULT_REWARD_MODEL_GATES} - set(found) == {
        "parameter_ratio",  # of two models
        *(gate.metric for gate in (*STRESS_GATES, *REWARD_MODEL_CHAMPION_GATES)),
    }


def scored_pairs(margins: NDArray[np.float64]) -> ScoredPairs:
    """Pairs whose rejected responses all score 0, by the margins of each member, shape ``[N, K]``."""
    held_out = HELD_OUT[: len(margins)]
    texts = [text for pair in held_out for text in (pair.chosen, pair.rejected)]
    members = np.stack([margins, np.zeros_like(margins)], axis=1).reshape(-1, margins.shape[1])
    return ScoredPairs(
        items=[Demonstration(held_out[index // 2].prompt, text) for index, text in enumerate(texts)],
        members=members,
        scores=members.mean(axis=1),
        spreads=members.std(axis=1),
        chosen=list(range(0, len(texts), 2)),
        rejected=list(range(1, len(texts), 2)),
        shares=np.ones(len(held_out)),
    )


def test_demonstrations_stand_above_rejected_answers_by_the_difference_of_their_means_in_calibrated_logits() -> None:
    rng = np.random.default_rng(21)
    scored = scored_pairs(rng.normal(size=(300, 1)))
    scored.scores[scored.rejected] = rng.normal(-1.0, 1.0, 300)
    demonstrated = rng.normal(0.5, 2.0, 400)
    found = demonstration_figures(demonstrated, DEMONSTRATIONS, scored, 2.0, HELD_OUT[:300])
    above = found["demonstrations_above_rejected"]
    assert found["demonstration_score"].value == pytest.approx(demonstrated.mean() / 2.0)
    assert above.value == pytest.approx((demonstrated.mean() - scored.scores[scored.rejected].mean()) / 2.0)
    interval = stats.ttest_ind(
        demonstrated / 2.0, scored.scores[scored.rejected] / 2.0, equal_var=False
    ).confidence_interval()
    assert (above.lower, above.upper) == pytest.approx((interval.low, interval.high), abs=0.03)
    assert above.n == 150


def test_demonstrations_of_one_prompt_count_once() -> None:
    scored = scored_pairs(np.ones((300, 1)))
    scores = np.repeat(np.random.default_rng(23).normal(size=100), 4)
    prompts = [DEMONSTRATIONS[index // 4] for index in range(400)]
    once = demonstration_figures(scores[::4], prompts[::4], scored, 1.0, HELD_OUT[:300])
    assert demonstration_figures(scores, prompts, scored, 1.0, HELD_OUT[:300])["demonstration_score"] == pytest.approx(
        once["demonstration_score"]
    )
    assert once["demonstrations_above_rejected"].n == 100


def test_labels_the_wrong_way_round_put_demonstrations_below_rejected_answers() -> None:
    scored = scored_pairs(-np.abs(calibrated_margins(22, 400))[:, None])
    worst = demonstration_figures(np.full(400, -0.5), DEMONSTRATIONS, scored, 1.0, HELD_OUT[:400])
    assert worst["demonstrations_above_rejected"].upper < 0.0
