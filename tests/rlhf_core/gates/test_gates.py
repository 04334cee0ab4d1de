"""Gates decide on whole intervals, abstain where they cannot know, and name what is wrong."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rlhf_core.data.stress_cases import CASES
from rlhf_core.gates.data import DEFAULT_DATA_GATES
from rlhf_core.gates.defaults import (
    DEFAULT_POLICY_GATES,
    DEFAULT_REWARD_MODEL_GATES,
    DEFAULT_SFT_GATES,
)
from rlhf_core.gates.figures import unknown_figure
from rlhf_core.gates.gate import Gate, Verdict, blocked, chance_of_stop, judge
from rlhf_core.gates.stress import PAID_FOR
from rlhf_core.metrics.estimates import Estimate, mean

ABOVE = Gate(
    name="agrees",
    metric="agreement",
    direction="above",
    threshold=0.5,
    min_samples=100,
    failure="disagrees",
    reason="Below one half the reward model prefers what people reject.",
)
BELOW = ABOVE.model_copy(update={"name": "small", "direction": "below"})
DEFAULTS = {
    "data": DEFAULT_DATA_GATES,
    "sft": DEFAULT_SFT_GATES,
    "reward_model": DEFAULT_REWARD_MODEL_GATES,
    "policy": DEFAULT_POLICY_GATES,
}

GOOD = {
    "data": {
        "prompt_near_duplicate_share": Estimate(0.1, 0.08, 0.12, 2000),
        "prompt_shift_auc": Estimate(0.5, 0.48, 0.52, 5000),
        "least_source_agreement": Estimate(0.62, 0.49, 0.75, 80),
    },
    "sft": {
        "eos_rate": Estimate(0.99, 0.97, 1.0, 400),
        "regurgitation_rate": Estimate(0.01, 0.0, 0.03, 400),
        "held_out_loss_gain": Estimate(0.4, 0.3, 0.5, 400),
        "loss_nats_over_champion": Estimate(0.0, -0.02, 0.02, 400),
    },
    "reward_model": {
        "agreement": Estimate(0.72, 0.70, 0.74, 2000),
        "agreement_above_floor": Estimate(0.10, 0.08, 0.12, 2000),
        "share_of_ceiling": Estimate(0.92, 0.88, 0.96, 2000),
        "demonstrations_above_rejected": Estimate(0.5, 0.4, 0.6, 2000),
        "member_correlation": Estimate(0.99, 0.985, 0.995, 2000),
        "share_in_band": Estimate(0.70, 0.68, 0.72, 2000),
        "abs_delta_ratio": Estimate(1.0, 0.9, 1.1, 2000),
        "overconfidence_gap": Estimate(0.0, -0.02, 0.02, 2000),
        "length_correlation": Estimate(0.1, 0.05, 0.15, 2000),
        "length_matched_agreement": Estimate(0.65, 0.6, 0.7, 600),
        "parameter_ratio": Estimate(1.0, 1.0, 1.0, 1),
        "ece": Estimate(0.03, 0.02, 0.05, 2000),
        "nll_above_chance": Estimate(-0.14, -0.16, -0.12, 2000),
        "nll_above_calibrated": Estimate(0.0, -0.001, 0.001, 2000),
        "agreement_over_champion": Estimate(0.0, -0.02, 0.02, 2000),
        **{f"pays_for_{case}": Estimate(0.2, 0.14, 0.28, 128) for case in PAID_FOR},
    },
    "policy": {
        "kl_to_sft_nats": Estimate(5.0, 4.8, 5.2, 300),
        "judge_reward_gain": Estimate(1.0, 0.8, 1.2, 300),
        "judge_win_rate": Estimate(0.7, 0.65, 0.75, 300),
        "judge_correlation": Estimate(0.7, 0.6, 0.8, 300),
        "judge_gain_over_best_of_n": Estimate(-0.1, -0.3, 0.1, 300),
        "eos_rate": Estimate(0.99, 0.97, 1.0, 300),
        "length_ratio": Estimate(1.1, 1.0, 1.2, 300),
        "distinct_2_ratio": Estimate(0.8, 0.8, 0.8, 300),
        "duplicate_share": Estimate(0.2, 0.2, 0.2, 300),
        "judge_win_rate_over_champion": Estimate(0.5, 0.44, 0.56, 256),
        "judge_score_at_like_length_over_champion": Estimate(-0.05, -0.2, 0.1, 256),
        "worst_slice_judge_win_rate_over_champion": Estimate(0.44, 0.3, 0.58, 60),
    },
}

# stage, metric, what was measured, what the failure is called
BAD = [
    ("data", "prompt_near_duplicate_share", Estimate(0.9, 0.88, 0.92, 2000), "repeat each other"),
    ("data", "prompt_shift_auc", Estimate(0.95, 0.94, 0.96, 5000), "unlike those of the preference pairs"),
    ("data", "least_source_agreement", Estimate(0.36, 0.25, 0.47, 200), "contradict those of the others"),
    ("sft", "eos_rate", Estimate(0.7, 0.65, 0.75, 400), "does not end its answers"),
    ("sft", "regurgitation_rate", Estimate(0.3, 0.25, 0.35, 400), "repeats the prompt"),
    ("sft", "held_out_loss_gain", Estimate(0.01, -0.01, 0.03, 400), "no better than the base"),
    ("reward_model", "agreement", Estimate(0.51, 0.49, 0.53, 2000), "disagrees"),
    ("reward_model", "agreement_above_floor", Estimate(0.01, -0.01, 0.03, 2000), "no better than length"),
    ("reward_model", "share_of_ceiling", Estimate(0.7, 0.66, 0.74, 2000), "far from what the labels allow"),
    ("reward_model", "share_of_ceiling", Estimate(1.1, 1.05, 1.15, 2000), "better than a perfect judge"),
    ("reward_model", "demonstrations_above_rejected", Estimate(-0.2, -0.3, -0.1, 2000), "prefers what people reject"),
    ("reward_model", "length_correlation", Estimate(0.7, 0.67, 0.73, 2000), "mostly by length"),
    ("reward_model", "member_correlation", Estimate(1.0, 1.0, 1.0, 2000), "one and the same"),
    ("reward_model", "length_matched_agreement", Estimate(0.5, 0.46, 0.54, 600), "knows nothing but length"),
    ("reward_model", "parameter_ratio", Estimate(0.02, 0.02, 0.02, 1), "much smaller than the policy"),
    ("reward_model", "share_in_band", Estimate(0.4, 0.38, 0.42, 2000), "outside [0.5, 4]"),
    ("reward_model", "abs_delta_ratio", Estimate(0.3, 0.25, 0.35, 2000), "undertrained"),
    ("reward_model", "abs_delta_ratio", Estimate(2.5, 2.2, 2.8, 2000), "overconfident"),
    ("reward_model", "overconfidence_gap", Estimate(0.12, 0.10, 0.14, 2000), "overconfident"),
    ("reward_model", "ece", Estimate(0.10, 0.08, 0.12, 2000), "not calibrated"),
    ("reward_model", "nll_above_chance", Estimate(0.1, 0.05, 0.15, 2000), "less likely than a coin"),
    ("reward_model", "nll_above_calibrated", Estimate(0.1, 0.05, 0.15, 2000), "margins of the wrong size"),
    *(
        ("reward_model", f"pays_for_{case}", Estimate(0.7, 0.6, 0.8, 128), f"pays for {PAID_FOR[case]}")
        for case in CASES
    ),
    ("policy", "kl_to_sft_nats", Estimate(9.0, 8.5, 9.5, 300), "left the KL budget"),
    ("policy", "judge_reward_gain", Estimate(-0.5, -0.7, -0.3, 300), "no better than SFT"),
    ("policy", "judge_win_rate", Estimate(0.3, 0.25, 0.35, 300), "not shown to beat SFT"),
    ("policy", "judge_correlation", Estimate(0.1, -0.1, 0.3, 300), "not what the judge knows"),
    ("policy", "judge_gain_over_best_of_n", Estimate(-0.3, -0.5, -0.1, 300), "worse than the best of n answers of SFT"),
    ("policy", "eos_rate", Estimate(0.3, 0.25, 0.35, 300), "does not end its answers"),
    ("policy", "length_ratio", Estimate(2.5, 2.3, 2.7, 300), "grew long"),
    ("policy", "length_ratio", Estimate(0.2, 0.15, 0.25, 300), "grew short"),
    ("policy", "distinct_2_ratio", Estimate(0.2, 0.2, 0.2, 300), "collapsed"),
    ("sft", "loss_nats_over_champion", Estimate(0.08, 0.06, 0.10, 400), "less likely demonstrations"),
    ("reward_model", "agreement_over_champion", Estimate(-0.08, -0.1, -0.06, 2000), "agrees less than the champion"),
    ("reward_model", "agreement_on_champion_policy_over_champion", Estimate(-0.1, -0.18, -0.02, 90), "users see today"),
    ("policy", "judge_win_rate_over_champion", Estimate(0.35, 0.3, 0.4, 256), "loses to the champion"),
    ("policy", "judge_score_at_like_length_over_champion", Estimate(-0.3, -0.5, -0.1, 256), "of one length"),
    ("policy", "worst_slice_judge_win_rate_over_champion", Estimate(0.2, 0.1, 0.4, 60), "on a part of the prompts"),
    ("policy", "duplicate_share", Estimate(0.6, 0.6, 0.6, 300), "collapsed"),
]


def verdict(gate: Gate, **estimates: Estimate) -> Verdict:
    (found,) = judge([gate], estimates)
    return found


def test_above_passes_by_its_lower_bound_and_not_by_its_value() -> None:
    assert verdict(ABOVE, agreement=Estimate(0.60, 0.51, 0.69, 100)).status == "pass"
    assert verdict(ABOVE, agreement=Estimate(0.60, 0.49, 0.71, 100)).status == "fail"


def test_below_passes_by_its_upper_bound_and_not_by_its_value() -> None:
    assert verdict(BELOW, agreement=Estimate(0.40, 0.31, 0.49, 100)).status == "pass"
    assert verdict(BELOW, agreement=Estimate(0.40, 0.29, 0.51, 100)).status == "fail"


def test_a_bound_on_the_threshold_fails() -> None:
    assert verdict(ABOVE, agreement=Estimate(0.6, 0.5, 0.7, 100)).status == "fail"
    assert verdict(BELOW, agreement=Estimate(0.4, 0.3, 0.5, 100)).status == "fail"


def test_a_bound_that_is_no_number_fails() -> None:
    nothing = float("nan")
    assert verdict(ABOVE, agreement=Estimate(nothing, nothing, nothing, 100)).status == "fail"
    assert verdict(BELOW, agreement=Estimate(nothing, nothing, nothing, 100)).status == "fail"
    found = verdict(ABOVE, agreement=Estimate(nothing, 0.6, 0.8, 100))
    assert (found.status, found.value, found.lower, found.upper) == ("fail", None, None, None)
    assert found.explanation == "agreement: is no number (NaN), so it cannot pass"


def test_too_few_prompts_abstain_however_good_the_figure() -> None:
    found = verdict(ABOVE, agreement=Estimate(0.99, 0.98, 1.0, 99))
    assert found.status == "abstain"
    assert found.explanation == "agreement: a verdict needs 100 prompts, and this has 99"
    assert verdict(ABOVE, agreement=Estimate(0.99, 0.98, 1.0, 100)).status == "pass"


def test_a_figure_without_an_interval_abstains() -> None:
    found = verdict(ABOVE.model_copy(update={"min_samples": 1}), agreement=mean([0.6] * 240, ["how"] * 240))
    assert found.status == "abstain"
    assert (found.value, found.lower, found.upper, found.n) == (pytest.approx(0.6), None, None, 1)
    assert found.explanation == "agreement: 0.6 has no interval, as there is one prompt"


def test_a_figure_that_was_not_measured_abstains() -> None:
    found = verdict(ABOVE, ece=Estimate(0.99, 0.98, 1.0, 1000))
    assert found.status == "abstain"
    assert found.explanation == "agreement: was not measured"
    assert (found.value, found.lower, found.upper, found.n) == (None, None, None, 0)


def test_a_gate_may_let_pass_what_the_data_cannot_tell_but_not_what_was_measured() -> None:
    lenient = ABOVE.model_copy(update={"when_missing": "pass"})
    found = verdict(lenient)
    assert (found.status, found.n) == ("pass", 0)
    assert found.explanation == "agreement: was not measured, which this gate allows"
    assert verdict(lenient, agreement=Estimate(0.6, 0.49, 0.7, 500)).status == "fail"
    assert verdict(lenient, agreement=Estimate(0.6, 0.55, 0.7, 99)).status == "abstain"


def test_a_gate_may_stop_only_what_is_wrong_beyond_doubt() -> None:
    above, below = (gate.model_copy(update={"in_doubt": "pass"}) for gate in (ABOVE, BELOW))
    doubtful, low, high = Estimate(0.5, 0.4, 0.6, 100), Estimate(0.4, 0.3, 0.49, 100), Estimate(0.6, 0.51, 0.7, 100)
    assert [verdict(above, agreement=found).status for found in (doubtful, low, high)] == ["pass", "fail", "pass"]
    assert [verdict(below, agreement=found).status for found in (doubtful, low, high)] == ["pass", "pass", "fail"]
    assert verdict(above, agreement=doubtful).explanation == "agreement: upper bound 0.6 is above 0.5 (n=100)"
    assert verdict(above, agreement=low).explanation.startswith("agreement: upper bound 0.49 is not above 0.5")
    nothing = float("nan")
    assert verdict(above, agreement=Estimate(nothing, nothing, nothing, 100)).status == "fail"


def test_a_verdict_holds_the_figure_and_says_what_is_wrong() -> None:
    found = verdict(ABOVE, agreement=Estimate(0.51, 0.4812, 0.54, 462))
    assert (found.gate, found.metric, found.direction, found.threshold) == ("agrees", "agreement", "above", 0.5)
    assert (found.value, found.lower, found.upper, found.n) == (0.51, 0.4812, 0.54, 462)
    assert found.explanation == "agreement: lower bound 0.4812 is not above 0.5 (n=462): disagrees"


def test_a_pass_names_no_failure() -> None:
    assert verdict(BELOW, agreement=Estimate(0.4, 0.3, 0.45, 462)).explanation == (
        "agreement: upper bound 0.45 is below 0.5 (n=462)"
    )


def test_failures_block_and_so_do_abstentions_unless_allowed() -> None:
    verdicts = [
        verdict(ABOVE, agreement=Estimate(0.6, 0.55, 0.65, 500)),
        verdict(ABOVE, agreement=Estimate(0.4, 0.35, 0.45, 500)),
        verdict(ABOVE),
    ]
    assert [found.status for found in blocked(verdicts)] == ["fail", "abstain"]
    assert [found.status for found in blocked(verdicts, abstain_blocks=False)] == ["fail"]


@given(
    value=st.floats(-5.0, 5.0),
    below=st.floats(0.0, 5.0),
    above=st.floats(0.0, 5.0),
    shrink=st.floats(0.0, 1.0),
    threshold=st.floats(-5.0, 5.0),
)
def test_a_narrower_interval_never_turns_a_pass_into_a_failure(
    value: float, below: float, above: float, shrink: float, threshold: float
) -> None:
    wide = Estimate(value, value - below, value + above, 500)
    narrow = Estimate(value, value - below * shrink, value + above * shrink, 500)
    for gate in (ABOVE, BELOW):
        moved = gate.model_copy(update={"threshold": threshold})
        if verdict(moved, agreement=wide).status == "pass":
            assert verdict(moved, agreement=narrow).status == "pass"


@given(value=st.floats(-5.0, 5.0), width=st.floats(0.0, 5.0), threshold=st.floats(-5.0, 5.0))
def test_no_figure_is_both_above_and_below(value: float, width: float, threshold: float) -> None:
    estimate = Estimate(value, value - width, value + width, 500)
    both = [verdict(gate.model_copy(update={"threshold": threshold}), agreement=estimate) for gate in (ABOVE, BELOW)]
    assert [found.status for found in both].count("pass") < 2


@pytest.mark.parametrize("stage", DEFAULTS)
def test_good_figures_pass_every_default_gate(stage: str) -> None:
    assert blocked(judge(DEFAULTS[stage], GOOD[stage])) == []


@pytest.mark.parametrize(("stage", "metric", "estimate", "failure"), BAD)
def test_each_default_gate_names_what_is_wrong(stage: str, metric: str, estimate: Estimate, failure: str) -> None:
    (found,) = blocked(judge(DEFAULTS[stage], GOOD[stage] | {metric: estimate}))
    assert found.status == "fail"
    assert failure in found.explanation


def test_every_default_gate_has_a_case_that_it_stops() -> None:
    stopped = {
        (stage, found.gate)
        for stage, metric, estimate, _ in BAD
        for found in blocked(judge(DEFAULTS[stage], GOOD[stage] | {metric: estimate}))
    }
    assert stopped == {(stage, gate.name) for stage, gates in DEFAULTS.items() for gate in gates}


@pytest.mark.parametrize("stage", DEFAULTS)
def test_without_figures_default_gates_abstain_and_block(stage: str) -> None:
    verdicts = judge(DEFAULTS[stage], {})
    passing = [found.gate for found in verdicts if found not in blocked(verdicts)]
    assert {found.status for found in blocked(verdicts)} == {"abstain"}
    worse = "not-worse-than-champion"
    unmeasured = {
        "data": ["sources-agree"],
        "sft": [worse],
        "reward_model": [
            *("near-ceiling", "below-ceiling", "members-differ", "right-at-like-length"),
            *(worse, "not-worse-on-champion-policy"),
        ],
        "policy": ["best-of-n", worse, "not-worse-at-like-length", "not-worse-in-any-slice"],
    }
    assert passing == unmeasured.get(stage, [])


@pytest.mark.parametrize("stage", DEFAULTS)
def test_names_of_default_gates_differ_and_reasons_are_sentences(stage: str) -> None:
    gates = DEFAULTS[stage]
    assert len({gate.name for gate in gates}) == len(gates)
    assert all(gate.reason.endswith(".") and len(gate.reason.split()) > 2 for gate in gates)


@pytest.mark.parametrize(
    "change", [{"direction": "near"}, {"min_samples": 0}, {"reason": ""}, {"failure": ""}, {"slack": 1.0}]
)
def test_a_gate_without_sense_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Gate.model_validate(ABOVE.model_dump() | change)


# What a sample could have shown


@pytest.mark.parametrize(
    ("direction", "in_doubt", "sign", "shown"),
    [("above", "fail", 1, "pass"), ("below", "fail", -1, "pass"), ("above", "pass", -1, "fail")],
)
def test_a_detectable_distance_is_seen_in_80_of_100_samples(
    direction: str, in_doubt: str, sign: int, shown: str
) -> None:
    gate = ABOVE.model_copy(update={"direction": direction, "in_doubt": in_doubt, "min_samples": 1})
    error = 0.02
    detectable = (1.959964 + 0.841621) * error
    draws = np.random.default_rng(5).normal(0.5 + sign * detectable, error, 4000)
    sides = 1.959964 * error
    verdicts = [judge([gate], {"agreement": Estimate(x, x - sides, x + sides, 200)})[0] for x in draws]
    assert {round(verdict.detectable or 0.0, 6) for verdict in verdicts} == {round(detectable, 6)}
    assert np.mean([verdict.status == shown for verdict in verdicts]) == pytest.approx(0.8, abs=0.02)


def test_four_times_the_sample_sees_half_the_distance_and_an_exact_figure_any() -> None:
    small, large, exact = (
        judge([ABOVE], {"agreement": Estimate(0.6, 0.6 - half, 0.6 + half, 400)})[0] for half in (0.1, 0.05, 0.0)
    )
    assert small.detectable == pytest.approx(2 * (large.detectable or 0.0))
    assert exact.detectable == 0.0
    assert judge([ABOVE], {})[0].detectable is None


def test_a_sample_that_could_not_have_seen_the_difference_abstains_with_what_would_do() -> None:
    strict = ABOVE.model_copy(update={"difference": 0.05})
    guard = strict.model_copy(update={"in_doubt": "pass"})
    small, large = Estimate(0.52, 0.42, 0.62, 100), Estimate(0.52, 0.486, 0.554, 900)
    for gate in (strict, guard):
        found = verdict(gate, agreement=small)
        assert found.status == "abstain"
        # .1 (1 + .8416 / 1.96) = .1429 is seen, so 100 (.1429 / .05)^2 = 817.2
        assert found.explanation == (
            "agreement: underpowered: [0.42, 0.62] holds 0.5, and 100 prompts show 0.14 from there, where the gate is "
            "about 0.05; about 818 would do"
        )
        assert verdict(gate, agreement=large).status == gate.in_doubt  # it could have seen it


def test_a_small_sample_that_saw_a_difference_all_the_same_decides() -> None:
    gate = ABOVE.model_copy(update={"difference": 0.05})
    assert verdict(gate, agreement=Estimate(0.8, 0.6, 1.0, 100)).status == "pass"
    assert verdict(gate, agreement=Estimate(0.2, 0.0, 0.4, 100)).status == "fail"


def test_a_figure_that_is_not_there_says_why() -> None:
    gate = ABOVE.model_copy(update={"when_missing": "pass"})
    (found,) = judge([gate], {}, {"agreement": "there is no champion to replace"})
    assert found.status == "pass"
    assert found.explanation == "agreement: there is no champion to replace, which this gate allows"


# What luck could have turned


def test_of_a_ladder_at_a_known_distance_luck_stops_as_many_as_is_said() -> None:
    """Truth one standard error above where the bound just passes: a normal falls below that 15.87 times in 100."""
    error = 0.02
    value = 0.5 + (1.959964 + 1.0) * error
    passed = verdict(ABOVE, agreement=Estimate(value, value - 1.959964 * error, value + 1.959964 * error, 400))
    assert passed.luck == pytest.approx(0.158655, abs=1e-6)
    draws = np.random.default_rng(3).normal(value, error, 4000)
    sides = 1.959964 * error
    failed = [verdict(ABOVE, agreement=Estimate(x, x - sides, x + sides, 400)).status == "fail" for x in draws]
    assert np.mean(failed) == pytest.approx(passed.luck, abs=0.02)
    assert chance_of_stop([passed, passed]) == pytest.approx(2 * 0.158655, abs=1e-5)


def test_gates_that_stop_and_exact_figures_add_nothing_to_luck() -> None:
    exact, failed = Estimate(0.6, 0.6, 0.6, 400), Estimate(0.52, 0.45, 0.59, 400)
    assert chance_of_stop([verdict(ABOVE, agreement=exact), verdict(ABOVE, agreement=failed)]) == 0.0
    assert chance_of_stop(judge([ABOVE], {})) == 0.0


def test_a_figure_that_is_none_is_told_with_the_nearest() -> None:
    assert not any(unknown_figure(stage, gate.metric) for stage, gates in DEFAULTS.items() for gate in gates)
    assert not unknown_figure("policy", "reward_brevity_gain")
    assert unknown_figure("policy", "eos_rat").endswith("; did you mean 'eos_rate'?")
    assert unknown_figure("sft", "agreement").endswith("; it is one of gates.reward_model")
