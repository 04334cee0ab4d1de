"""What is kept of a climb: its settings, figures and curve, in numbers that JSON holds."""

from collections.abc import Mapping
from typing import Any

from benchmarks.common.climbs.pool import Climbed
from benchmarks.common.climbs.stages import Kept
from benchmarks.quality.mitigations.arms import Arm
from rlhf_core.metrics.estimates import Estimate

DIGITS = 6
Record = dict[str, Any]
SHOWN = {
    "reward_model": (
        "agreement",
        "agreement_above_floor",
        "length_correlation",
        "length_matched_agreement",
        "temperature",
        "disagreement",
        "member_correlation",
    ),
    "judge": ("agreement", "length_correlation"),
    "policy": (
        "kl_to_sft_nats",
        "judge_reward_gain",
        "reward_gain",
        "length_ratio",
        "eos_rate",
        "distinct_2_ratio",
        "duplicate_share",
        "overoptimisation",
        "judge_peak_kl_nats",
        "over_optimised",
        "collapsed",
        "reward_disagreement_gain",
    ),
    "truth": ("sft_gold", "policy_gold", "gold_gain", "judge_gain", "reward_gain", "kl_to_sft_nats", "policy_right"),
}
"""Figures that are kept, by stage; those that a stage does not have are left out."""


RESULT = "the result is the state after update "
"""Before the number, at the end of what a watch says of a run that it ended."""


def record(arm: Arm, seed: int, climbed: Climbed) -> Record:
    """The record of a climb that has ended."""
    stages = climbed.stages
    policy = stages.get("policy")
    return {
        "arm": arm.name,
        "seed": seed,
        "settings": dict(arm.settings),
        "error": climbed.error,
        "outcome": policy.outcome if policy else "",
        "seconds": {name: rounded(kept.seconds) for name, kept in stages.items()},
        "figures": {name: shown(stages[name], names) for name, names in SHOWN.items() if name in stages},
        "updates": {name: [rounded(value) for value in series(policy, name)] for name in ("update_kl", "update_beta")},
        "curve": [_point(point) for point in climbed.curve],
        "result": result_of(climbed),
    }


def result_of(climbed: Climbed) -> int | None:
    """Place in the curve of the state that is the result, as the watch says; None where there is no curve."""
    policy, curve = climbed.stages.get("policy"), climbed.curve
    if policy is None or policy.error or not curve:
        return None
    if not policy.outcome:
        return len(curve) - 1
    step = int(policy.outcome.rpartition(RESULT)[2])
    return [point["step"] for point in curve].index(step)


def shown(kept: Kept, names: tuple[str, ...]) -> dict[str, list[float]]:
    """Some figures of a stage as value, lower and upper bound."""
    return {name: bounds(kept.estimates[name]) for name in names if name in kept.estimates}


def bounds(estimate: Estimate) -> list[float]:
    """Value, lower and upper bound."""
    return [rounded(value) for value in estimate[:3]]


def series(kept: Kept | None, name: str) -> list[float]:
    """Numbers of a stage; empty where it has none of the name."""
    return kept.series.get(name, []) if kept else []


def rounded(value: float) -> float:
    """A number with the digits that mean something."""
    return float(f"{value:.{DIGITS}g}")


def _point(point: Mapping[str, Any]) -> Record:
    """An evaluation with rounded numbers."""
    return {name: rounded(value) if isinstance(value, float) else value for name, value in point.items()} | {
        "gold_interval": [rounded(value) for value in list(point["gold_interval"].values())[:3]]
    }
