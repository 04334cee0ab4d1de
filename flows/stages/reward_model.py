"""The stages reward-model, which PPO maximises, and judge, which only measures; trained, or taken from elsewhere."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from prefect import flow

from flows.config.pretrained import ModelSource
from flows.config.reward_model import RewardModelSettings
from flows.registry.context import RunContext
from flows.registry.external_models import allows, day_of, digests_taken, files_of, name_of, registered
from flows.registry.packaging import Serving
from flows.registry.references import DataRefs, DatasetRef, FreshPairs, ModelRef, StageRecord
from flows.stages.held_out import held_out, noted
from flows.stages.plan import Plan
from flows.stages.runner import run_stage
from flows.stages.taken import taking
from flows.storage.records import read_all_pairs, read_demonstrations, read_pairs
from rlhf_core.evaluators.reward_model import measure_refresh, parameter_ratio
from rlhf_core.reward_model import train as reward_model
from rlhf_core.reward_model.external import adopt_reward_model
from rlhf_core.training.checkpoint import Checkpoints
from rlhf_core.training.stage import Stage

JUDGE_SEED_OFFSET = 1000  # the judge shares neither pairs nor seed with the reward model

MAIN = "reward_model"
"""Artifact of both stages, which rlhf_core names."""

KEY_METRICS = ("agreement", "loss_nats")


@flow(name="reward-model", flow_run_name="{context.project} reward-model")
def train_reward_model(
    config: RewardModelSettings, data: DataRefs, init_from: StageRecord, context: RunContext
) -> StageRecord:
    """Train the reward model on the pairs of the training split, starting from the SFT model; or take one.

    Where there are fresh pairs it learns from these too, and is measured on the newest of them beside the one before.
    """
    return run_stage(plan_reward_model(config, data, init_from, context), context)


def plan_reward_model(config: RewardModelSettings, data: DataRefs, init_from: StageRecord, context: RunContext) -> Plan:
    """What `train_reward_model` does."""
    plan = _plan("reward-model", "train", data.all_pairs, config, data, init_from.model, context, context.seed)
    return _refreshed(plan, config, data.fresh[-1], context) if data.fresh else plan


@flow(name="judge", flow_run_name="{context.project} judge")
def train_judge(
    config: RewardModelSettings, data: DataRefs, init_from: StageRecord, context: RunContext
) -> StageRecord:
    """Train the held-out judge on the pairs of its own split, with another seed; or take one.

    It learns from no fresh pairs: the rounds are measured by one judge, and whoever labels them does not teach it.
    """
    return run_stage(plan_judge(config, data, init_from, context), context)


def plan_judge(config: RewardModelSettings, data: DataRefs, init_from: StageRecord, context: RunContext) -> Plan:
    """What `train_judge` does."""
    seed = context.seed + JUDGE_SEED_OFFSET
    pairs = {"training": data.preferences}
    return _plan("judge", "judge", pairs, config, data, init_from.model, context, seed)


def _plan(
    stage: str,
    split: str,
    pairs: Mapping[str, DatasetRef],
    config: RewardModelSettings,
    data: DataRefs,
    sft: ModelRef,
    context: RunContext,
    seed: int,
) -> Plan:
    if config.source is not None:
        return _taken(stage, split, config, config.source, data, sft, context)

    def start(out: Path, checkpoints: Checkpoints) -> Stage:
        registry = context.registry()
        folder, judging = registry.folder(sft), held_out(data, [sft], registry)
        training = reward_model.train_reward_model(
            config,
            init_from=folder,
            train=read_all_pairs(pairs.values(), split),
            held_out=judging.pairs,
            tuned=judging.tuned_by_pairs,
            demonstrations=read_demonstrations(data.demonstrations, "train"),
            out=out,
            seed=seed,
            ceiling=data.ceiling,
            cache=context.cache,
            checkpoints=checkpoints,
        )
        return _sized(noted(training, judging.note), folder)

    return Plan(
        stage=stage,
        config=config,
        seed=seed,
        start=start,
        main=MAIN,
        models={MAIN: "Held-out judge, never trained against" if stage == "judge" else "Reward model"},
        uses={MAIN: Serving.within("score", config)},
        parents={"sft": sft},
        datasets={**pairs, "centring": data.demonstrations},
        sources=data.measured,
        key_metrics=KEY_METRICS,
    )


def _taken(
    stage: str,
    split: str,
    config: RewardModelSettings,
    source: ModelSource,
    data: DataRefs,
    sft: ModelRef,
    context: RunContext,
) -> Plan:
    """A plan without training: a copy of a model from elsewhere, measured as a trained one is."""

    def start(out: Path, _: Checkpoints) -> Stage:
        registry = context.registry()
        judging = held_out(data, [sft] if version is None else [sft, version], registry, taken=version)
        adoption = adopt_reward_model(
            config,
            source=files_of(source, registry),
            train=read_pairs(data.preferences, split),
            held_out=judging.pairs,
            tuned=judging.tuned_by_pairs,
            demonstrations=read_demonstrations(data.demonstrations, "train"),
            out=out,
            ceiling=data.ceiling,
            day=day_of(source),
            allow=allows(source),
        )
        adopted = taking(adoption, f"{stage.replace('-', '_')}.from", source)
        return _sized(noted(adopted, judging.note), registry.folder(sft))

    version = registered(source, context.registry())
    what = "Held-out judge, never trained against here" if stage == "judge" else "Reward model"
    return Plan(
        stage=stage,
        config=config,
        seed=context.seed,
        start=start,
        main=MAIN,
        models={MAIN: f"{what}, taken from {name_of(source)}"},
        uses={MAIN: Serving.within("score", config)},
        parents={"sft": sft, **({} if version is None else {"taken": version})},
        datasets={"evaluation": data.preferences, "demonstrations": data.demonstrations},
        sources={**data.measured, **digests_taken(source)},
    )


def _refreshed(plan: Plan, config: RewardModelSettings, fresh: FreshPairs, context: RunContext) -> Plan:
    """The plan, with what the fresh pairs were worth: measured on those held out, beside the last reward model."""

    def start(out: Path, checkpoints: Checkpoints) -> Stage:
        registry = context.registry()
        result = yield from plan.start(out, checkpoints)
        figures = measure_refresh(
            config,
            reward_model=result.artifacts[MAIN],
            last=registry.folder(fresh.of.reward_model),
            judge=registry.folder(fresh.of.judge),
            held_out=read_pairs(fresh.dataset, "test"),
        )
        return replace(result, estimates=result.estimates | figures)

    measured_by = {"last": fresh.of.reward_model, "judge": fresh.of.judge}
    return replace(plan, start=start, parents={**plan.parents, **measured_by})


def _sized(stage: Stage, policy: Path) -> Stage:
    """A stage that also says how large its reward model is beside the policy."""
    result = yield from stage
    ratio = parameter_ratio(result.artifacts[MAIN], policy)
    return replace(result, estimates=result.estimates | {"parameter_ratio": ratio})
