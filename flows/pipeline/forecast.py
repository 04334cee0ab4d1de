"""What a climb is about to do: which stages it trains, which it reuses, and how long and dear that was before."""

from collections.abc import Sequence
from typing import NamedTuple

from flows.config.compute import ComputeConfig
from flows.config.ladder import LadderConfig
from flows.pipeline.reuse import recall
from flows.registry.context import RunContext
from flows.registry.names import KEY_TAG, RESUMED_TAG, SECONDS_TAG, STAGE_TAG
from flows.registry.references import DataRefs, StageRecord
from flows.report import Terminal
from flows.stages.base import plan_base
from flows.stages.plan import Plan
from flows.stages.policy import plan_policy
from flows.stages.progress import StageAhead, expect, in_short
from flows.stages.reward_inputs import RewardInputs
from flows.stages.reward_model import plan_judge, plan_reward_model
from flows.stages.sft import plan_sft

NEWEST = 5
"""Runs of a stage that are looked at for its time; those that were cut off tell the time of their last part only."""


class Expected(NamedTuple):
    """A stage before it is reached.

    Attributes:
        reused: whether it is there already.
        seconds: what it took last time, with whatever data and settings; None where no run tells.
    """

    stage: str
    reused: bool
    seconds: float | None


def announce(config: LadderConfig, data: DataRefs, rewards: RewardInputs, context: RunContext) -> None:
    """Say before the work what it will be, and whether it fits into the time and money that the configuration gives."""
    expected = forecast(config, data, rewards, context)
    expect(StageAhead(one.stage, one.seconds, became="reused" if one.reused else "") for one in expected)
    Terminal(stderr=True).print(in_words(expected, config.compute), highlight=False, soft_wrap=True)


def forecast(config: LadderConfig, data: DataRefs, rewards: RewardInputs, context: RunContext) -> list[Expected]:
    """What each stage will be: a stage above one that is trained anew is trained anew as well."""
    base = _made(plan_base(config.base, data, context), context)
    sft = base and _made(plan_sft(config.sft, data.demonstrations, base, context), context)
    reward_model = sft and _made(plan_reward_model(config.reward_model, data, sft, context), context)
    judge = sft and _made(plan_judge(config.judge, data, sft, context), context)
    policy = None
    if sft and reward_model and judge:
        plan = plan_policy(config.policy, data, sft, reward_model, judge, rewards, context)
        policy = _made(plan, context)
    made = {"base": base, "sft": sft, "reward-model": reward_model, "judge": judge, "policy": policy}
    return [Expected(stage, bool(record), _seconds(stage, context)) for stage, record in made.items()]


def in_words(expected: Sequence[Expected], compute: ComputeConfig) -> str:
    """One line: what is trained, what is reused, about how long and dear it will be."""
    trained = [stage for stage in expected if not stage.reused]
    reused = [stage.stage for stage in expected if stage.reused]
    if not trained:
        return f"to train: nothing; reused: {', '.join(reused)}"
    parts = [f"to train: {', '.join(stage.stage for stage in trained)}"]
    parts += [f"reused: {', '.join(reused)}"] if reused else []
    known = {stage.stage: stage.seconds for stage in trained if stage.seconds is not None}
    if unknown := [stage.stage for stage in trained if stage.stage not in known]:
        parts.append(f"how long {', '.join(unknown)} will take is not known, as none was made here before")
    if known:
        total = sum(known.values())
        times = ", ".join(f"{stage} {in_short(seconds)}" for stage, seconds in known.items())
        together = f": {in_short(total)} in all" if len(known) > 1 else ""
        parts.append(f"last time {times}{together}{_cost(total, compute)}")
        if total > compute.budget_seconds:
            parts.append("that is more than compute.max_hours or max_cost gives: it will stop on its way and keep all")
    return "; ".join(parts)


def _cost(seconds: float, compute: ComputeConfig) -> str:
    if compute.price_per_hour is None:
        return ""
    return f", a cost of {seconds / 3600 * compute.price_per_hour:.2f}"


def _made(plan: Plan, context: RunContext) -> StageRecord | None:
    """The stage as an earlier run made it, if its version still stands."""
    registry = context.registry()
    name = plan.registered_name(context.project, plan.main)
    for run in registry.finished({STAGE_TAG: plan.stage, KEY_TAG: plan.key}, NEWEST):
        for ref in registry.versions_of(name, run.info.run_id):
            if registry.intact(ref):
                return recall(ref, registry)
    return None


def _seconds(stage: str, context: RunContext) -> float | None:
    """Time of the newest training of a stage that ran through."""
    runs = context.registry().finished({STAGE_TAG: stage}, NEWEST)
    times = (run.data.tags.get(SECONDS_TAG) for run in runs if RESUMED_TAG not in run.data.tags)
    return next((float(seconds) for seconds in times if seconds is not None), None)
