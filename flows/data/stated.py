"""The statement that ingestion leaves of the snapshots that it made, and of what became of the raw rows."""

from collections.abc import Mapping
from pathlib import Path

from flows.attestation.statement import PROVENANCE, Subject
from flows.registry.context import RunContext
from flows.registry.keys import DATA_CODE, code_version
from flows.registry.references import DataRefs
from flows.registry.statements import file_subjects, provenance, state, table_subject
from flows.storage.digests import digests_of, file_digests
from rlhf_core.config import Frozen


def state_data(refs: DataRefs, plan: Frozen, inputs: Mapping[str, str], context: RunContext) -> None:
    """Leave a statement of snapshots that were made.

    Args:
        refs: the snapshots; of each the bytes of its file, so that the order of rows and their provenance count too.
        plan: what ingestion depends on.
        inputs: SHA-256 of the raw files, and digests of the tables of champions, by name.
        context: where the registry is.
    """
    subjects = []
    for table in refs.tables:
        path = Path(table.path)
        [digest] = digests_of(path.parent, [path]).values()
        subject = table_subject(table)
        subjects.append(subject.model_copy(update={"digest": {**subject.digest, "sha256": digest}}))
    reports = {path: digest for path, digest in file_digests(Path(refs.report)).items() if path.endswith(".json")}
    predicate = provenance(
        "data",
        parameters={"plan": plan.model_dump(mode="json"), "seed": context.seed},
        materials=[Subject(name=name, digest={"sha256": digest}) for name, digest in inputs.items()],
        code=code_version(DATA_CODE),
        estimates={name: estimate.as_json() for name, estimate in refs.estimates.items()},
    )
    counts = {kind: count.model_dump(mode="json") for kind, count in refs.counts.items()}
    subjects += file_subjects(reports, "report")
    state(context.registry(), PROVENANCE, subjects, {**predicate, "rlhf_counts": counts}, {})
