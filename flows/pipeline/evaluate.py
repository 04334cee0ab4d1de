"""Evaluation alone: registered models are measured on the current held-out data and judged; nothing is trained."""

from collections.abc import Callable
from typing import Any

from mlflow.entities import LoggedModelInput
from prefect import flow
from prefect.cache_policies import NO_CACHE

from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.pipeline.gating import enforce
from flows.pipeline.lifecycle import open_evaluation
from flows.pipeline.reuse import champion, parent, recall
from flows.pipeline.run import LadderRun
from flows.registry.context import RunContext
from flows.registry.names import STAGE_TAG, registered_name
from flows.registry.references import DataRefs, LadderResult, ModelRef, StageRecord
from flows.stages.reward_inputs import resolve_reward
from flows.storage.records import read_demonstrations, read_pairs, read_prompts
from flows.tasks import retried_task
from rlhf_core.evaluators.policy import evaluate_policy
from rlhf_core.evaluators.reward_model import evaluate_reward_model, parameter_ratio
from rlhf_core.evaluators.sft import evaluate_sft
from rlhf_core.metrics.estimates import Estimate

Estimates = dict[str, Estimate]


@flow(name="rlhf-evaluate", flow_run_name="{config.project} evaluate")
def evaluate(
    config: LadderConfig,
    sft: str | None = None,
    reward_model: str | None = None,
    policy: str | None = None,
    arguments: str = "CONFIG",
) -> LadderResult:
    """Measure registered models on the current held-out data, judge them by their gates, and train nothing.

    Args:
        config: whose data, settings and gates are meant.
        sft: name/version or name@alias; the champion unless given, if there is one.
        reward_model: the same.
        policy: the same.
        arguments: how the configuration is named on a command line.

    Raises:
        InputError: if there is nothing to measure.
        StoppedByGate: naming every gate of every model that blocks.
    """
    with open_evaluation(config, arguments) as run:
        models = _models(run, {"sft": sft, "reward-model": reward_model, "policy": policy})
        data = run.keep(run.ingest())
        for stage, ref in models.items():
            run.keep(StageRecord.model_validate(measure(stage, ref, config, data, run.context)))
        gates = {"sft": config.gates.sft, "reward-model": config.gates.reward_model, "policy": config.gates.policy}
        for stage, outcome in run.stages.items():
            run.judge(outcome.record, gates[stage])
        enforce("evaluate", run.blocking, config.gates)
        versions = {ref.name: ref for ref in models.values()}
        return LadderResult(run_id=run.context.run_id, versions=versions, retrained=[], published=False)


def _models(run: LadderRun, named: dict[str, str | None]) -> dict[str, ModelRef]:
    """The versions that are meant, by stage."""
    registry = run.context.registry()
    versions = {stage: registry.pin(model) for stage, model in named.items() if model}
    for stage in named.keys() - versions.keys():
        if ref := champion(registered_name(run.config.project, stage), registry):
            versions[stage] = ref
    if not versions:
        raise InputError(f"{run.config.project} has no champion to measure; set one, or name a version")
    return {stage: versions[stage] for stage in named if stage in versions}


@retried_task("measure", cache_policy=NO_CACHE)
def measure(stage: str, ref: ModelRef, config: LadderConfig, data: DataRefs, context: RunContext) -> dict[str, Any]:
    """Measure a version under a run of its own, as its stage did when it was trained.

    Raises:
        InputError: if it gives no numbers, or the data tell it nothing.
    """
    registry = context.registry()
    run_id = registry.start_run(f"evaluate-{stage}", parent=context.run_id, tags={STAGE_TAG: f"evaluate-{stage}"})
    registry.client.log_inputs(run_id, models=[LoggedModelInput(ref.model_id)])
    try:
        figures = MEASURES[stage](ref, config, data, context)
    except ValueError as error:
        registry.end_run(run_id, "FAILED")
        raise InputError(f"{ref.label}: {error}") from None
    registry.log_estimates(run_id, figures)
    registry.end_run(run_id, "FINISHED")
    now = {"estimates": figures, "run_id": run_id, "ladder_run": context.run_id}
    return recall(ref, registry).model_copy(update=now).model_dump(mode="json")


def _sft(ref: ModelRef, config: LadderConfig, data: DataRefs, context: RunContext) -> Estimates:
    registry = context.registry()
    return evaluate_sft(
        config.sft,
        base=registry.folder(parent(ref, "base", registry)),
        sft=registry.folder(ref),
        held_out=read_demonstrations(data.demonstrations, "test"),
        seed=config.seed,
    )


def _reward_model(ref: ModelRef, config: LadderConfig, data: DataRefs, context: RunContext) -> Estimates:
    registry = context.registry()
    folder = registry.folder(ref)
    figures = evaluate_reward_model(
        config.reward_model,
        reward_model=folder,
        train=read_pairs(data.preferences, "train"),
        held_out=read_pairs(data.preferences, "test"),
        demonstrations=read_demonstrations(data.demonstrations, "train"),
        ceiling=data.ceiling,
    )
    ratio = parameter_ratio(folder, registry.folder(parent(ref, "sft", registry)))
    return figures | {"parameter_ratio": ratio}


def _policy(ref: ModelRef, config: LadderConfig, data: DataRefs, context: RunContext) -> Estimates:
    registry = context.registry()
    return evaluate_policy(
        config.policy,
        sft=registry.folder(parent(ref, "sft", registry)),
        policy=registry.folder(ref),
        reward_model=registry.folder(parent(ref, "reward-model", registry)),
        judge=registry.folder(parent(ref, "judge", registry)),
        held_out_prompts=read_prompts(data.prompts, "test"),
        seed=config.seed,
        term_models=resolve_reward(config.policy.reward, registry).model_folders(registry),
        cache=context.cache,
    )


MEASURES: dict[str, Callable[[ModelRef, LadderConfig, DataRefs, RunContext], Estimates]] = {
    "sft": _sft,
    "reward-model": _reward_model,
    "policy": _policy,
}
