"""The statement that a stage leaves of the versions that it made: provenance, as SLSA has it."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from flows.attestation.statement import PROVENANCE, Subject
from flows.registry.context import RunContext
from flows.registry.held import FILES, run_address
from flows.registry.names import EVIDENCE, STATEMENT
from flows.registry.references import DatasetRef, ModelRef
from flows.registry.statements import (
    file_subjects,
    holds_models,
    holds_run,
    holds_versions,
    provenance,
    state,
    table_subject,
    version_subject,
)
from flows.stages.finished import FinishedTraining
from flows.stages.plan import Plan
from flows.storage.digests import digests_of, file_digests


def state_stage(plan: Plan, context: RunContext, trained: FinishedTraining, models: Mapping[str, ModelRef]) -> None:
    """Leave a statement of a stage whose versions are registered, before its run ends; tried again, it leaves another.

    Args:
        plan: what it did.
        context: where the registry is.
        trained: what came of it.
        models: its versions, by artifact.
    """
    registry = context.registry()
    holds = {
        **holds_run(registry, trained.run_id),
        **holds_versions(registry, models.values()),
        **holds_models(registry, models.values()),
    }
    kept = holds[run_address(trained.run_id)][FILES]
    rows = {path: digest for path, digest in kept.items() if path.startswith(f"{EVIDENCE}/")}
    identity = plan.identity
    predicate = provenance(
        "stage",
        parameters={"stage": plan.stage, "config": identity.config, "seed": plan.seed, "key": identity.key},
        materials=_materials(plan),
        run=registry.client.get_run(trained.run_id),
        code=identity.code,
        estimates={name: estimate.as_json() for name, estimate in trained.estimates.items()},
    )
    subjects = [*_versions(trained, models), *file_subjects(rows, trained.run_id)]
    entry = state(registry, PROVENANCE, subjects, {**predicate, "rlhf_outcome": trained.outcome}, holds)
    registry.client.log_text(trained.run_id, entry.content.decode(), STATEMENT)


def _versions(trained: FinishedTraining, models: Mapping[str, ModelRef]) -> Iterator[Subject]:
    """Each version, and each of its files as it lies on this machine."""
    for artifact, ref in models.items():
        yield version_subject(ref)
        yield from file_subjects(file_digests(Path(trained.folders[artifact])), ref.label)


def _materials(plan: Plan) -> Iterator[Subject]:
    for role, parent in plan.parents.items():
        yield version_subject(parent).model_copy(update={"name": role})
    for use, dataset in plan.datasets.items():
        yield _table(dataset, use)
    for name, digest in plan.sources.items():
        yield Subject(name=name, digest={"rlhfSource": digest})


def _table(dataset: DatasetRef, use: str) -> Subject:
    """A snapshot by what its rows say, and, where it lies here, by the bytes of its file, their order among them."""
    path, subject = Path(dataset.path), table_subject(dataset, use)
    if not path.is_file():
        return subject
    [digest] = digests_of(path.parent, [path]).values()
    return subject.model_copy(update={"digest": {**subject.digest, "sha256": digest}})
