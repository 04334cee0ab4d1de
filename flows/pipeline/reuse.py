"""What the registry remembers: stages of earlier runs, and whether a climb would only repeat one of them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import mlflow.artifacts
from mlflow.entities import Run

from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.config.pretrained import IDENTITY_CONTEXT
from flows.registry.approvals import require_two_people
from flows.registry.client import Registry
from flows.registry.keys import LADDER_CODE, code_version, content_key, inputs_of
from flows.registry.names import (
    ALIASED_TAG,
    CHAMPION,
    KEY_TAG,
    LADDER_KEY_TAG,
    PARENT_PREFIX,
    PARENT_RUN_TAG,
    PASSED,
    STAGE_PREFIX,
    STAGE_TAG,
    STAGES,
    STATUS_TAG,
    verdicts_record,
)
from flows.registry.references import DATA, DataRefs, ModelRef, StageOutcome, StageRecord
from flows.registry.tags import withdrawn_marks
from rlhf_core.config import Frozen
from rlhf_core.gates.gate import Verdict

ELSEWHERE = {
    *("storage", "threads", "compute", "data", "contract", "shares", "relabel"),
    *("audit", "freshness", "lineage", "model_card", "promotion"),
}
"""Sections that change no outcome, or that the digests of the data stand for."""

NEWEST = 5
"""Runs with the same key that are looked at."""


class RunPlan(Frozen):
    """What the outcome of a climb depends on besides data and models."""

    settings: dict[str, Any]


class EarlierRun(NamedTuple):
    """An earlier climb that still stands.

    Attributes:
        run_id: its run in MLflow.
        stages: its stages.
        verdicts: on its data and stages.
        reason: what is the same as then, in words.
        published: whether its versions have the alias.
    """

    run_id: str
    stages: dict[str, StageOutcome]
    verdicts: dict[str, list[Verdict]]
    reason: str
    published: bool


def run_key(
    what: str, config: LadderConfig, data: DataRefs, inputs: Mapping[str, ModelRef], sources: Mapping[str, str]
) -> str:
    """Identity of a climb: the same key means the same stages and the same verdicts.

    Args:
        what: which flow climbs.
        config: its configuration; where and on what it runs does not count, and data count by their digests.
        data: the tables.
        inputs: models that are given to it, by role.
        sources: digests of what else it is given, by name.
    """
    counted = RunPlan(settings=config.model_dump(mode="json", exclude=ELSEWHERE, context=IDENTITY_CONTEXT))
    models = {role: ref.digest for role, ref in inputs.items()}
    datasets = {table.name: table.digest for table in data.tables}
    digests = inputs_of(models, datasets, {**sources, **data.measured})
    return content_key(what, counted, digests, config.seed, LADDER_CODE)


def find_same(key: str, data: DataRefs, registry: Registry, alias: str | None) -> EarlierRun | None:
    """The newest climb with this key whose versions are all intact and have the alias if it gave it to them.

    None as alias asks for none: of a round that others follow, whose alias a later one took.
    """
    for run in registry.finished({LADDER_KEY_TAG: key}, NEWEST):
        made = _made(run)
        aliased = run.data.tags.get(ALIASED_TAG, "").split()
        if all(
            _stands(label, registry, alias if label in aliased else None)
            for labels in made.values()
            for label in labels
        ):
            stages = {stage: _outcome(labels, registry) for stage, labels in made.items()}
            verdicts = {judged: _verdicts(judged, run, registry) for judged in (DATA, *made)}
            return EarlierRun(run.info.run_id, stages, verdicts, _reason(run, data), bool(aliased))
    return None


def recall(ref: ModelRef, registry: Registry) -> StageRecord:
    """What is remembered of the stage that made a version."""
    run = registry.client.get_run(ref.run_id)
    version = registry.client.get_model_version(ref.name, ref.version)
    return StageRecord(
        stage=run.data.tags[STAGE_TAG],
        key=version.tags[KEY_TAG],
        ladder_run=run.data.tags[PARENT_RUN_TAG],
        run_id=ref.run_id,
        models={ref.name: ref},
        estimates=registry.estimates(ref.run_id),
        seconds=(run.info.end_time - run.info.start_time) / 1000,
    )


def require_startable(ref: ModelRef, registry: Registry, config: LadderConfig) -> None:
    """See that a run may stand on a version: by its gates where these are enforced, by two people where they must sign.

    Raises:
        InputError: if it may not.
    """
    if config.gates.mode == "enforce":
        require_passed(ref, registry)
    if config.promotion.two_people:
        require_two_people(registry, ref)


def require_passed(ref: ModelRef, registry: Registry) -> None:
    """See that gates passed a version that a run is to stand on, and that none of its data were withdrawn.

    Raises:
        InputError: if that is not so.
    """
    tags = registry.client.get_model_version(ref.name, ref.version).tags
    if said := withdrawn_marks(tags):
        raise InputError(f"{ref.label} was trained on {said[0]}: name another version, or set gates.mode to advisory")
    if (status := tags.get(STATUS_TAG)) != PASSED:
        raise InputError(
            f"{ref.label} has {STATUS_TAG} '{status or 'unknown'}': name or promote a version that passed its "
            "gates, or set gates.mode to advisory"
        )


def champion(name: str, registry: Registry) -> ModelRef | None:
    """The champion of a registered name, None where there is none."""
    try:
        return registry.pin(f"{name}@{CHAMPION}")
    except InputError:
        return None


def parent(ref: ModelRef, role: str, registry: Registry) -> ModelRef:
    """The version in a role that another one was made from."""
    return registry.pin(registry.client.get_model_version(ref.name, ref.version).tags[PARENT_PREFIX + role])


def _made(run: Run) -> dict[str, list[str]]:
    """Labels of the versions that a climb ended with, by stage in the order of the ladder."""
    tags = {stage: run.data.tags.get(f"{STAGE_PREFIX}{stage}") for stage in STAGES}
    return {stage: labels.split(", ") for stage, labels in tags.items() if labels}


def _stands(label: str, registry: Registry, alias: str | None) -> bool:
    """Whether a version is intact, of data that were not withdrawn, and has the alias if it shall have one."""
    try:
        ref = registry.pin(label)
    except InputError:
        return False
    if withdrawn_marks(registry.client.get_model_version(ref.name, ref.version).tags):
        return False
    aliases: dict[str, str] = registry.client.get_registered_model(ref.name).aliases
    return registry.intact(ref) and (alias is None or str(aliases.get(alias)) == ref.version)


def _outcome(labels: Sequence[str], registry: Registry) -> StageOutcome:
    refs = [registry.pin(label) for label in labels]
    record = recall(refs[0], registry).model_copy(update={"models": {ref.name: ref for ref in refs}})
    return StageOutcome(record, reused=True)


def _verdicts(judged: str, run: Run, registry: Registry) -> list[Verdict]:
    path = verdicts_record(judged)
    if path not in (item.path for item in registry.client.list_artifacts(run.info.run_id, "gates")):
        return []
    kept = mlflow.artifacts.load_dict(f"runs:/{run.info.run_id}/{path}")
    return [Verdict.model_validate(verdict) for verdict in kept["verdicts"]]


def _reason(run: Run, data: DataRefs) -> str:
    tables = ", ".join(f"{table.name} {table.digest[:12]}" for table in data.tables)
    when = datetime.fromtimestamp(run.info.start_time / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return (
        f"data ({tables}), configuration and code ({code_version()}) are those of run {run.info.run_id} of {when}, "
        "and its versions are intact"
    )
