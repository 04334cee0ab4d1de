"""Which rows of evidence may go: those that no version which stays was measured or compared by."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from mlflow.entities import Run

from flows.lineage.archive import Archive
from flows.lineage.graph import Version
from flows.lineage.training_record import evidence_of
from flows.registry.artifacts import stored_size
from flows.registry.names import (
    EVALUATION,
    EVIDENCE,
    EVIDENCE_PRUNED_TAG,
    PARENT_RUN_TAG,
    STAGE_PREFIX,
    STAGE_TAG,
    compared_name,
    registered_name,
)


class EvidenceRun(NamedTuple):
    """A run that keeps rows.

    Attributes:
        run_id: in MLflow.
        of: versions that were measured by them, as far as these are registered.
        location: where the rows lie.
        made: seconds since the epoch.
    """

    run_id: str
    of: tuple[str, ...]
    location: str
    made: float

    @property
    def name(self) -> str:
        """What the rows are of."""
        return f"{', '.join(self.of) or 'versions that are gone'} in run {self.run_id}"

    @property
    def size(self) -> int:
        """Bytes."""
        return stored_size(self.location)


def evidence_runs(archive: Archive, project: str, versions: Mapping[str, Version]) -> Iterator[EvidenceRun]:
    """Finished runs of a project that keep rows of evidence.

    Args:
        archive: where they are.
        project: whose experiment is looked through.
        versions: all of the registry, by label.
    """
    made: dict[str, list[str]] = {}
    for label, version in versions.items():
        made.setdefault(version.run_id, []).append(label)
    for run in archive.runs(project):
        if run.info.status != "RUNNING" and EVIDENCE_PRUNED_TAG not in run.data.tags and evidence_of(run):
            measured = _measured(archive, project, run, made)
            yield EvidenceRun(
                run_id=run.info.run_id,
                of=tuple(sorted(label for label in measured if label in versions)),
                location=f"{run.info.artifact_uri}/{EVIDENCE}",
                made=run.info.start_time / 1000,
            )


def _measured(archive: Archive, project: str, run: Run, made: Mapping[str, list[str]]) -> list[str]:
    """Labels of the versions that a run's rows are of: those that it made, evaluated, or held against a champion.

    The answers of all stages, measured from outside, are of the policy.
    """
    stage = run.data.tags.get(STAGE_TAG, "")
    if stage.startswith(f"{EVALUATION}-"):
        parent = archive.tags(run.data.tags.get(PARENT_RUN_TAG, ""))
        return parent.get(f"{STAGE_PREFIX}{stage.removeprefix(f'{EVALUATION}-')}", "").split(", ")
    names = {compared_name(file) or registered_name(project, "policy") for file in evidence_of(run)}
    tags = run.data.tags.items()
    stood_on = [label for key, labels in tags if key.startswith(STAGE_PREFIX) for label in labels.split(", ")]
    return [*made.get(run.info.run_id, ()), *(label for label in stood_on if label.rpartition("/")[0] in names)]
