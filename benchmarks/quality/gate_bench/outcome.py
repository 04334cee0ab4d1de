"""What is remembered of a case: its figures, what stopped it, and what its answers were truly worth."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.common.climbs.pool import GATES, Climbed
from benchmarks.common.climbs.recipe import STAGES, StageName
from benchmarks.quality.gate_bench.cases import Case, Half, Kind, half_of
from rlhf_core.config import Frozen
from rlhf_core.gates.gate import Gate, blocked, judge
from rlhf_core.metrics.estimates import Estimate, mean
from rlhf_core.metrics.win_rate import paired_gain

FIGURES: tuple[StageName, ...] = ("data", "sft", "reward_model", "judge", "policy")
"""Stages whose figures are kept."""
DIGITS = 5
"""Significant ones that are kept of a figure."""


class Outcome(Frozen):
    """One case that has ended, as it lies in the results.

    Attributes:
        stopped_itself: the stage that would not go on, and why; empty where none refused.
        estimates: of each stage that finished; of the policy as it is where no self-test stops it.
        early: what ended a stage before its time.
        policy_gold: gold reward of the policy's answer to each held-out prompt; empty where there is no policy.
        sft_gold: the same of its SFT model.
        kl_to_sft_nats: of the policy, measured by sound code.
        curve: KL, proxy, judge and gold over the evaluations of PPO.
        seconds: of process time, of stages that no earlier case had trained.
    """

    name: str
    kind: Kind
    where: str
    half: Half
    seed: int
    stopped_itself: tuple[str, str] | None = None
    estimates: dict[str, dict[str, Estimate]] = {}
    early: dict[str, str] = {}
    policy_gold: list[float] = []
    sft_gold: list[float] = []
    right: dict[str, float] = {}
    kl_to_sft_nats: float | None = None
    curve: list[dict[str, Any]] = []
    seconds: float = 0.0


def outcome_of(case: Case, climbed: Sequence[Climbed], seconds: float) -> Outcome:
    """What is kept of a case.

    Args:
        case: the case.
        climbed: its climb, and the one that no self-test stops if there is one.
        seconds: process time of the stages that were trained for it.
    """
    first, last = climbed[0], climbed[-1]
    truth = last.stages["truth"] if "truth" in last.stages and not last.error else None
    stage, _, why = first.error.partition(": ")
    return Outcome(
        name=case.name,
        kind=case.kind,
        where=case.where,
        half=half_of(case),
        seed=case.seed,
        stopped_itself=(stage, why) if stage else None,
        estimates={
            name: {figure: _short(estimate) for figure, estimate in last.stages[name].estimates.items()}
            for name in FIGURES
            if name in last.stages and not last.stages[name].error
        },
        early={name: kept.outcome for name, kept in last.stages.items() if kept.outcome},
        policy_gold=[_rounded(value) for value in truth.series["policy_gold"]] if truth else [],
        sft_gold=[_rounded(value) for value in truth.series["sft_gold"]] if truth else [],
        right={name: _rounded(truth.estimates[f"{name}_right"].value) for name in ("sft", "policy")} if truth else {},
        kl_to_sft_nats=_rounded(truth.estimates["kl_to_sft_nats"].value) if truth else None,
        curve=[{name: point[name] for name in ("step", "kl", "reward", "judge", "gold")} for point in last.curve],
        seconds=round(seconds, 1),
    )


class Worth(NamedTuple):
    """What a case's policy is worth, paired by prompt, in gold reward.

    Attributes:
        gain: over its own SFT model.
        over_sft: over the SFT model of the sound climb of its seed.
        over_twin: over the policy of that climb.
    """

    gain: Estimate
    over_sft: Estimate
    over_twin: Estimate


def worth(outcome: Outcome, outcomes: Mapping[str, Outcome]) -> Worth | None:
    """What a policy is worth beside the sound climb of its seed; None where there is no policy.

    Args:
        outcome: of the case.
        outcomes: all by name; where the sound one has not ended yet, or the data are of another size, a case is
            compared with itself.
    """
    if not outcome.policy_gold:
        return None
    sound = outcomes.get(f"seed {outcome.seed}", outcome)
    if len(sound.policy_gold) != len(outcome.policy_gold):
        sound = outcome
    gold = outcome.policy_gold
    return Worth(
        mean(paired(gold, outcome.sft_gold)), paired_gain(gold, sound.sft_gold), paired_gain(gold, sound.policy_gold)
    )


def paired(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """Differences by prompt."""
    return [one - other for one, other in zip(first, second, strict=True)]


class Caught(NamedTuple):
    """Where a case was stopped first.

    Attributes:
        stage: at which; empty where it went through.
        by: the gates that block there, or what the stage itself refused.
    """

    stage: str
    by: tuple[str, ...]


def caught(outcome: Outcome, gates: Mapping[StageName, Sequence[Gate]] = GATES) -> Caught:
    """The first stage that stops a case, as the ladder would: an abstention blocks too.

    Args:
        outcome: of the case.
        gates: of each stage, in the order of the ladder.
    """
    for stage in STAGES:
        if outcome.stopped_itself and outcome.stopped_itself[0] == stage:
            return Caught(stage, (outcome.stopped_itself[1].partition(":")[0],))
        if stage in gates and stage in outcome.estimates:
            found = blocked(judge(gates[stage], outcome.estimates[stage]))
            if found:
                return Caught(stage, tuple(verdict.gate for verdict in found))
    return Caught("", ())


def _short(estimate: Estimate) -> Estimate:
    value, lower, upper = map(_rounded, estimate[:3])
    return Estimate(value, lower, upper, estimate.n)


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
