"""The recipe's table of failures, row by row, each with the light that this climb's figures give it."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from flows.pipeline.climb_page.climb import Climb
from flows.pipeline.climb_page.parts import interval
from rlhf_core.gates.gate import Verdict
from rlhf_core.gates.stress import PAID_FOR
from rlhf_core.metrics.estimates import Estimate


class FailureMode(NamedTuple):
    """A row of the recipe's table.

    Attributes:
        figures: what shows it, by name, in words; empty where all gates do.
        stops: figures that are 1 where it ended the training of the policy.
    """

    risk: str
    failure: str
    figures: Mapping[str, str]
    stops: tuple[str, ...] = ()


class FailureLight(NamedTuple):
    """A row with its light: `good`, `bad`, `warn`, or `unknown` where nothing was measured."""

    risk: str
    failure: str
    light: str
    measured: str


BIASES = ("flattery", "keywords", "padding")
"""Attacks of the stress test that are what annotators fall for; the others are off-distribution."""

FAILURES = (
    FailureMode("Three sequential stages", "Bugs compound; iteration is slow.", {}),
    FailureMode(
        "The reward model is wrong off-distribution",
        "The policy hacks its blind spots.",
        {
            "kl_to_sft_nats": "KL to SFT",
            "judge_correlation": "reward and judge correlate",
            "overoptimisation": "gain lost again",
            "prompt_shift_auc": "prompts unlike the pairs'",
            **{f"pays_for_{name}": f"pays for {name.replace('_', ' ')}" for name in PAID_FOR if name not in BIASES},
        },
        ("over_kl_budget", "over_optimised", "over_disagreement"),
    ),
    FailureMode(
        "Preference data are biased",
        "Annotators reward fluency, length, confident tone, not correctness.",
        {
            "length_correlation": "score with length",
            "length_matched_agreement": "agreement at like length",
            "agreement_above_floor": "above trivial rules",
            "length_ratio": "length over SFT's",
            **{f"pays_for_{name}": f"pays for {name}" for name in BIASES},
        },
    ),
    FailureMode(
        "The reward model's scale does not match the policy's",
        "A small one is fooled by what it cannot judge.",
        {
            "parameter_ratio": "parameters over the policy's",
            "reward_disagreement_gain": "members disagree more",
            "member_correlation": "members correlate",
        },
    ),
    FailureMode(
        "Mode collapse",
        "One high-reward response for every prompt.",
        {
            "distinct_2_ratio": "distinct word pairs over SFT's",
            "duplicate_share": "repeated answers",
            "entropy_ratio": "entropy over SFT's",
            "repeats_within_prompt": "repeats within a prompt",
        },
        ("collapsed",),
    ),
)


def lights(climb: Climb) -> list[FailureLight]:
    """Every row of the table with what this climb measured of it."""
    figures = {**climb.data}
    for stage in ("sft", "reward-model", "policy"):
        if stage in climb.stages:
            figures |= climb.stages[stage].figures
    return [_light(mode, climb, figures) for mode in FAILURES]


def _light(mode: FailureMode, climb: Climb, figures: Mapping[str, Estimate]) -> FailureLight:
    verdicts = [verdict for found in climb.verdicts.values() for verdict in found]
    if not mode.figures:
        return FailureLight(mode.risk, mode.failure, _of(verdicts), "; ".join(_stages(climb)) or "no gate was asked")
    told = [verdict for verdict in verdicts if verdict.metric in mode.figures]
    measured = [f"{title} {interval(figures[name])}" for name, title in mode.figures.items() if name in figures]
    if stopped := [name for name in mode.stops if name in figures and figures[name].value == 1]:
        measured.append(f"it ended training ({', '.join(name.replace('_', ' ') for name in stopped)})")
    light = _of(told)
    if light == "good" and stopped:
        light = "warn"
    return FailureLight(mode.risk, mode.failure, light, "; ".join(measured) or "not measured")


def _of(verdicts: list[Verdict]) -> str:
    """A light from verdicts: red where one fails, amber where one abstains, green where one passes that measured."""
    if any(verdict.status == "fail" for verdict in verdicts):
        return "bad"
    if any(verdict.status == "abstain" for verdict in verdicts):
        return "warn"
    return "good" if any(verdict.value is not None for verdict in verdicts) else "unknown"


def _stages(climb: Climb) -> Iterator[str]:
    for judged, verdicts in climb.verdicts.items():
        passed = sum(verdict.status == "pass" for verdict in verdicts)
        yield f"{judged}: {passed} of {len(verdicts)} gates passed"
