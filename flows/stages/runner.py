"""Runner of every training stage: reuse what is registered, or train under an MLflow run and register."""

import math
import shutil
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from prefect import task

from flows.config.errors import InputError
from flows.registry.context import RunContext
from flows.registry.dataset_uploads import keep_snapshots
from flows.registry.keys import IDENTITY
from flows.registry.names import EVIDENCE_PREFIX, KEY_TAG
from flows.registry.packaging import package
from flows.registry.references import ModelRef, StageRecord
from flows.registry.runs import refuse_nan
from flows.registry.tags import card_tags, describe, lineage_tags, template_tags
from flows.stages.evidence import log_evidence, write_evidence
from flows.stages.figures import Series, figures_of
from flows.stages.finished import FinishedTraining, has_folders, keep_finished, read_finished
from flows.stages.journal import LoggedEvents
from flows.stages.lineage_events import tell_made, told_training
from flows.stages.plan import Plan
from flows.stages.progress import LiveStage
from flows.stages.row_origins import with_origins
from flows.stages.stage_run import has_ended, open_stage_run
from flows.stages.stated import state_stage
from flows.stages.time_limit import TimeLimit
from flows.stages.time_spent import TimeSpent
from flows.stages.torchrun import launch
from flows.stages.worker import Job
from flows.storage.cached_results import intact_result, reuse_or_remake, sealed
from flows.tasks import CACHED, retried_task
from rlhf_core.models.precision import NotFiniteError
from rlhf_core.training.checkpoint import Checkpoints
from rlhf_core.training.doing import heard_by
from rlhf_core.training.stage import OutOfTime, Stage, StageResult

STATES = ".states"
"""Ends the name of the folder of a stage's states, after its content key."""

CURVES = ("kl_to_sft_nats", "kl_to_rollout_nats")

SAMPLES = 2
"""Samples that a record keeps; all are in the run."""


def run_stage(plan: Plan, context: RunContext) -> StageRecord:
    """Climb one rung, or stand on it already: a result is reused while its versions and their files exist.

    Of two climbs that need the same stage at once, the second waits for the first and then reuses its result.

    Args:
        plan: what the stage does.
        context: what the climb shares.

    Returns:
        The registered versions with their figures.
    """

    def intact(record: StageRecord) -> bool:
        return all(context.registry().intact(ref) for ref in record.models.values())

    record = reuse_or_remake(context.storage, reach, StageRecord, intact, plan.key, plan, context)
    for folder in (_workspace(context, plan.key), _states(context, plan.key), _ranks(context, plan.key)):
        shutil.rmtree(folder, ignore_errors=True)  # only now, as without them nothing would tell of what is registered
    return record


@task(name="reach", **CACHED)
def reach(key: str, plan: Plan, context: RunContext) -> dict[str, Any]:
    """Train and register; what it returns is remembered across runs under the content key."""
    trained = intact_result(train, FinishedTraining, has_folders, key, plan, context)
    record = StageRecord.model_validate(register(key, plan, context, trained))
    return sealed(record)


@retried_task("train", **CACHED)
def train(key: str, plan: Plan, context: RunContext) -> dict[str, Any]:
    """Run the training under an MLflow run of its own; metrics go there as they come.

    Where an earlier climb or try was cut off, its run goes on from the last sound state, and a tag says when.
    """
    context.see_time(plan.stage)
    registry, states = context.registry(), _states(context, key)
    earlier = read_finished(states)
    if earlier is not None and has_ended(earlier.run_id, key, registry):  # killed before its record was kept
        return sealed(earlier)
    run_id = open_stage_run(plan.stage, key, context, states)
    if earlier is not None and earlier.run_id == run_id:
        return sealed(earlier)
    registry.client.log_dict(run_id, plan.identity.model_dump(mode="json"), IDENTITY)
    registry.log_params(run_id, {plan.stage: plan.config.model_dump(mode="json"), "seed": plan.seed})
    if plan.datasets:
        registry.log_datasets(run_id, plan.datasets)
        keep_snapshots(plan.datasets.values(), context.project, registry)
    workspace = _workspace(context, key)
    _prepare(context, key)
    taken = TimeSpent(registry, run_id, context.compute.price_per_hour)
    with told_training(plan, context, run_id):
        result, curves = _run(plan, context, key, run_id, taken)
    registry.tag_run(run_id, taken.tags)
    finished = FinishedTraining(
        run_id=run_id,
        folders={name: str(folder) for name, folder in result.artifacts.items()},
        files=_files_beside(workspace, result.artifacts.values()),
        estimates=result.estimates,
        evidence=write_evidence(_rows(result, plan), context.evidence, states / "evidence"),
        series={**curves, **result.series},
        samples=result.samples,
        outcome=result.outcome,
        seconds=taken.seconds,
    )
    keep_finished(states, finished)
    return sealed(finished)


@retried_task("register")
def register(key: str, plan: Plan, context: RunContext, trained: FinishedTraining) -> dict[str, Any]:
    """Log figures, register every artifact as a version, and leave a statement of them; safe to try again."""
    registry = context.registry()
    registry.log_figures(trained.run_id, figures_of(trained.series))
    registry.client.log_dict(trained.run_id, trained.series, "series.json")
    registry.client.log_dict(trained.run_id, {"samples": trained.samples}, "samples.json")
    for path in trained.files:
        registry.client.log_artifact(trained.run_id, path)
    models = _register_models(key, plan, context, trained)
    registry.log_estimates(
        trained.run_id, trained.estimates, model=models[plan.main], dataset=plan.datasets.get("training")
    )
    registry.note_end(trained.run_id, "FINISHED")
    state_stage(plan, context, trained, models)
    registry.end_as_noted(registry.client.get_run(trained.run_id))
    record = StageRecord(
        stage=plan.stage,
        key=key,
        ladder_run=context.run_id,
        run_id=trained.run_id,
        models=models,
        what=dict(plan.models),
        parents=dict(plan.parents),
        datasets=dict(plan.datasets),
        estimates=trained.estimates,
        samples=trained.samples[:SAMPLES],
        outcome=trained.outcome,
        seconds=trained.seconds,
    )
    tell_made(record, context)
    return record.model_dump(mode="json")


def _register_models(key: str, plan: Plan, context: RunContext, trained: FinishedTraining) -> dict[str, ModelRef]:
    """Every artifact as a version; the main one names the evidence of its figures."""
    registry = context.registry()
    lineage = {**lineage_tags(plan.parents, plan.datasets, plan.sources), **plan.tags, KEY_TAG: key}
    digests = log_evidence(trained.evidence, plan.stage, trained.run_id, registry)
    evidence = {plan.main: {f"{EVIDENCE_PREFIX}{name}": digest for name, digest in digests.items()}}
    models = {}
    for artifact, what in plan.models.items():
        folder = Path(trained.folders[artifact])
        if artifact in plan.uses:
            package(folder, plan.uses[artifact])
        models[artifact] = registry.register(
            folder,
            plan.registered_name(context.project, artifact),
            run_id=trained.run_id,
            parents=plan.parents,
            tags=lineage | evidence.get(artifact, {}) | template_tags(folder) | card_tags(folder),
            description=describe(what, plan.parents, plan.datasets),
        )
    return models


def _run(plan: Plan, context: RunContext, key: str, run_id: str, taken: TimeSpent) -> tuple[StageResult, Series]:
    """The training as its run in MLflow shows it, which ends with it where it does not end well."""
    registry, states = context.registry(), _states(context, key)
    events = LoggedEvents(states, registry, run_id)
    try:
        if context.threads is not None:
            torch.set_num_threads(context.threads)
        return _follow(plan, events, _begin(plan, context, key), context.compute.time_out(plan.stage))
    except NotFiniteError as error:
        registry.try_to_end(run_id, "FAILED", taken.tags, error)
        raise _astray(error, plan, states, events) from None
    except OutOfTime as over:
        events.flush()
        registry.try_to_end(run_id, "KILLED", taken.tags, over)
        raise OutOfTime(f"{plan.stage}: {over}") from None
    except BaseException as error:
        registry.try_to_end(run_id, "FAILED", taken.tags, error)
        raise


def _begin(plan: Plan, context: RunContext, key: str) -> Stage:
    """The stage, in this process or on ranks of their own."""
    compute = context.compute
    states = None if compute.checkpoint_seconds is None else _states(context, key)
    job = Job(
        start=plan.start,
        out=_workspace(context, key),
        states=states,
        every_seconds=compute.checkpoint_seconds or 0.0,
        until=math.inf if context.until is None else context.until,
        fsdp=compute.strategy == "fsdp",
    )
    if plan.alone or compute.ranks == 1:
        return job.begin()
    return launch(job, _ranks(context, key), compute, threads=context.threads)


def _prepare(context: RunContext, key: str) -> None:
    """Empty the workspace, unless a sound state goes with what lies there."""
    workspace = _workspace(context, key)
    if not Checkpoints(_states(context, key)).notes:
        shutil.rmtree(workspace, ignore_errors=True)
    workspace.mkdir(parents=True, exist_ok=True)


def _follow(plan: Plan, events: LoggedEvents, stage: Stage, limit: float | None) -> tuple[StageResult, Series]:
    """Drive the stage to its end, showing and logging its events; also keep the curves that figures need."""
    curves: Series = {}
    in_time = TimeLimit(plan.stage, limit)
    with closing(stage), LiveStage(plan.stage, plan.key_metrics) as live, heard_by(live.say):
        while True:
            try:
                with in_time.left():
                    event = next(stage)
            except StopIteration as end:
                events.flush()
                return _checked(end.value, plan), curves
            live.show(event)
            events.add(event)
            for name in CURVES:
                if name in event.metrics:
                    curves.setdefault(name, []).append(event.metrics[name])


def _astray(error: NotFiniteError, plan: Plan, states: Path, events: LoggedEvents) -> InputError:
    """What is told of numbers that are none: where, and which state was the last that had none."""
    step = f", after step {events.last}" if events.last >= 0 else ""
    kept = Checkpoints(states).notes.get("step")
    return InputError(f"stage {plan.stage}{step}: {error}" + (f"; {kept} steps are kept in {states}" if kept else ""))


def _files_beside(workspace: Path, artifacts: Iterable[Path]) -> list[str]:
    """Files of a stage that belong to no artifact; where the workspace itself is one, all of them do."""
    return [] if workspace in artifacts else [str(path) for path in workspace.iterdir() if path.is_file()]


def _rows(result: StageResult, plan: Plan) -> dict[str, pa.Table]:
    """The rows that the figures of a stage rest on, with where they come from."""
    return with_origins(result.evidence, plan.datasets.values(), result.artifacts[plan.main])


def _checked(result: StageResult, plan: Plan) -> StageResult:
    if missing := set(plan.models) - set(result.artifacts):
        raise RuntimeError(f"stage {plan.stage} did not make {', '.join(sorted(missing))}")
    refuse_nan(result.estimates)
    return result


def _workspace(context: RunContext, key: str) -> Path:
    return context.storage / "work" / key


def _states(context: RunContext, key: str) -> Path:
    """Beside the workspace, which may be a model's folder as a whole."""
    return context.storage / "work" / f"{key}{STATES}"


def _ranks(context: RunContext, key: str) -> Path:
    """What a stage and its ranks tell each other."""
    return context.storage / "work" / f"{key}.ranks"
