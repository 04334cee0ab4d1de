"""Evaluation alone: registered models are measured on the current held-out data and judged; nothing is trained."""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from mlflow.entities import LoggedModelInput
from prefect import flow
from prefect.cache_policies import NO_CACHE

from data_contracts.records import Kind
from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.pipeline.gating import enforce
from flows.pipeline.lifecycle import open_evaluation
from flows.pipeline.reuse import champion, parent, recall
from flows.pipeline.run import LadderRun
from flows.registry.client import Registry
from flows.registry.context import RunContext
from flows.registry.learned_prompts import SeenRows, learned_prompts, leave_out, matching, tuned_prompts
from flows.registry.names import EVALUATION, STAGE_TAG, registered_name
from flows.registry.references import DataRefs, DatasetRef, LadderResult, ModelRef, StageRecord
from flows.registry.statements import conclude, version_subject
from flows.stages.evidence import log_evidence, write_evidence
from flows.stages.reward_inputs import resolve_reward
from flows.stages.row_origins import with_origins
from flows.storage.records import read_demonstrations, read_pairs, read_prompts
from flows.storage.snapshots import read_split
from flows.tasks import retried_task
from rlhf_core.evaluators.evaluation import Evaluation
from rlhf_core.evaluators.policy import evaluate_policy
from rlhf_core.evaluators.reward_model import evaluate_reward_model, parameter_ratio
from rlhf_core.evaluators.sft import evaluate_sft
from rlhf_core.training.stage import Event

FEWEST = 2
"""Prompts that judge a version at least."""


@flow(name="rlhf-evaluate", flow_run_name="{config.project} evaluate")
def evaluate(
    config: LadderConfig,
    sft: str | None = None,
    reward_model: str | None = None,
    policy: str | None = None,
    arguments: str = "CONFIG",
) -> LadderResult:
    """Measure registered models on the current held-out data, judge them by their gates, and train nothing.

    Rows with prompts that a model which takes part was trained on are left out, and counted.

    Args:
        config: whose data, settings and gates are meant.
        sft: name/version or name@alias; the champion unless given, if there is one.
        reward_model: the same.
        policy: the same.
        arguments: how the configuration is named on a command line.

    Raises:
        InputError: if there is nothing to measure, or to measure it on.
        StoppedByGate: naming every gate of every model that blocks.
    """
    with open_evaluation(config, arguments) as run:
        models = _models(run, {"sft": sft, "reward-model": reward_model, "policy": policy})
        data = run.keep(run.ingest())
        terms = run.rewards.models.values()
        taking_part = {stage: [ref, *(terms if stage == "policy" else ())] for stage, ref in models.items()}
        held_out = {
            stage: held_out_rows(stage, refs, data, run.context.registry()) for stage, refs in taking_part.items()
        }
        for stage, ref in models.items():
            record = measure(stage, ref, held_out[stage], config, data, run.context)
            run.keep(StageRecord.model_validate(record))
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


class Judging(NamedTuple):
    """What judges a version.

    Attributes:
        left_out: rows of the test split that do not, since a model that takes part was trained on their prompts.
        tuned: prompts on which the version's temperature was fitted or its state chosen; they do not either.
        what: the rows are, such as held-out pairs.
    """

    left_out: SeenRows
    tuned: set[str]
    what: str


TABLES: dict[str, tuple[Kind, str]] = {
    "sft": ("demonstrations", "held-out demonstrations"),
    "reward-model": ("preferences", "held-out pairs"),
    "policy": ("prompts", "held-out prompts"),
}
"""Which table judges a stage, and what its rows are."""


def held_out_rows(stage: str, models: Sequence[ModelRef], data: DataRefs, registry: Registry) -> Judging:
    """What judges a version, before anything is measured.

    Args:
        stage: which made it.
        models: the version, and what takes part without being in its lineage.
        data: whose test split is meant.
        registry: where the models are.

    Raises:
        InputError: if it cannot be known what a model was trained on, or too little is left to judge by.
    """
    ref, (table, what) = models[0], TABLES[stage]
    frame = read_split(data.datasets[table], "test")
    left_out = leave_out(frame, learned_prompts(models, registry))
    tuned = set() if stage == "sft" else matching(frame["prompt"].tolist(), tuned_prompts(ref, registry))
    judging = set(frame["prompt"]) - left_out.prompts - tuned
    if len(judging) < FEWEST:
        reason = left_out.sentence(what) or "it was tuned on the others"
        raise InputError(
            f"{ref.label}: {len(judging)} of {left_out.of} {what} are left to judge it by, as {reason}; "
            "measure it on the data, shares and seed that it was trained with, or add rows with other prompts"
        )
    return Judging(left_out, tuned, what)


@retried_task("measure", cache_policy=NO_CACHE)
def measure(
    stage: str, ref: ModelRef, held_out: Judging, config: LadderConfig, data: DataRefs, context: RunContext
) -> dict[str, Any]:
    """Measure a version under a run of its own, as its stage did when it was trained.

    Raises:
        InputError: if it gives no numbers, or the data tell it nothing.
    """
    registry, name = context.registry(), f"{EVALUATION}-{stage}"
    run_id = registry.start_run(name, parent=context.run_id, tags={STAGE_TAG: name})
    registry.client.log_inputs(run_id, models=[LoggedModelInput(ref.model_id)])
    try:
        measured = MEASURES[stage](ref, held_out, config, data, context)
    except ValueError as error:
        registry.end_run(run_id, "FAILED")
        raise InputError(f"{ref.label}: {error}") from None
    registry.log_estimates(run_id, measured.estimates)
    with TemporaryDirectory() as folder:
        rows = with_origins(measured.evidence, _origins(stage, data), registry.folder(ref))
        log_evidence(write_evidence(rows, context.evidence, Path(folder)), stage, run_id, registry)
    left_out = held_out.left_out
    registry.log_events(run_id, [Event(0, {"left_out_rows": left_out.rows, "held_out_rows": left_out.of})])
    registry.client.log_dict(run_id, left_out.by, "left_out.json")
    conclude(registry, registry, run_id, EVALUATION, "FINISHED", [version_subject(ref)])
    sentence = left_out.sentence(held_out.what)
    now = {"estimates": measured.estimates, "run_id": run_id, "ladder_run": context.run_id, "outcome": sentence}
    return recall(ref, registry).model_copy(update=now).model_dump(mode="json")


def _origins(stage: str, data: DataRefs) -> list[DatasetRef]:
    """The tables that the rows of a stage's evidence are of."""
    judging = TABLES[stage][0]
    return [data.datasets[judging], *([data.demonstrations] if stage == "reward-model" else [])]


def _sft(ref: ModelRef, held_out: Judging, config: LadderConfig, data: DataRefs, context: RunContext) -> Evaluation:
    registry = context.registry()
    rows = read_demonstrations(data.demonstrations, "test")
    return evaluate_sft(
        config.sft,
        base=registry.folder(parent(ref, "base", registry)),
        sft=registry.folder(ref),
        held_out=[row for row in rows if row.prompt not in held_out.left_out.prompts],
        seed=config.seed,
    )


def _reward_model(
    ref: ModelRef, held_out: Judging, config: LadderConfig, data: DataRefs, context: RunContext
) -> Evaluation:
    registry = context.registry()
    folder = registry.folder(ref)
    pairs = read_pairs(data.preferences, "test")
    evaluation = evaluate_reward_model(
        config.reward_model,
        reward_model=folder,
        train=read_pairs(data.preferences, "train"),
        held_out=[pair for pair in pairs if pair.prompt not in held_out.left_out.prompts],
        demonstrations=read_demonstrations(data.demonstrations, "train"),
        ceiling=data.ceiling,
        tuned=held_out.tuned,
    )
    ratio = parameter_ratio(folder, registry.folder(parent(ref, "sft", registry)))
    return evaluation._replace(estimates=evaluation.estimates | {"parameter_ratio": ratio})


def _policy(ref: ModelRef, held_out: Judging, config: LadderConfig, data: DataRefs, context: RunContext) -> Evaluation:
    registry = context.registry()
    prompts = read_prompts(data.prompts, "test")
    return evaluate_policy(
        config.policy,
        sft=registry.folder(parent(ref, "sft", registry)),
        policy=registry.folder(ref),
        reward_model=registry.folder(parent(ref, "reward-model", registry)),
        judge=registry.folder(parent(ref, "judge", registry)),
        held_out_prompts=[prompt for prompt in prompts if prompt not in held_out.left_out.prompts],
        seed=config.seed,
        term_models=resolve_reward(config.policy.reward, registry).model_folders(registry),
        cache=context.cache,
        tuned=held_out.tuned,
    )


MEASURES: dict[str, Callable[[ModelRef, Judging, LadderConfig, DataRefs, RunContext], Evaluation]] = {
    "sft": _sft,
    "reward-model": _reward_model,
    "policy": _policy,
}
