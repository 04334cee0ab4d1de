"""Upload of datasets to MLflow: snapshots, each once and in a run of its own, and the report of a run's data."""

from collections.abc import Iterable
from pathlib import Path

from flows.registry.client import Registry, open_registry
from flows.registry.names import (
    ANNOTATOR_PREFIX,
    CONTRACT_TAG,
    NAME_TAG,
    ORIGIN_PREFIX,
    SNAPSHOT_TAG,
    data_experiment,
)
from flows.registry.references import DataRefs, DatasetRef


def keep_snapshots(refs: Iterable[DatasetRef], project: str, registry: Registry) -> None:
    """Upload the snapshots that the artifact store does not have yet.

    Of two climbs that do so at the same moment both may; either copy serves.
    """
    data = open_registry(data_experiment(project), registry.storage)
    for ref in {ref.digest: ref for ref in refs}.values():
        query = f"tags.`{SNAPSHOT_TAG}` = '{ref.digest}' and attributes.status = 'FINISHED'"
        if data.client.search_runs([data.experiment_id], query, max_results=1):
            continue
        tags = {NAME_TAG: ref.name, SNAPSHOT_TAG: ref.digest, CONTRACT_TAG: ref.contract}
        tags |= {f"{ORIGIN_PREFIX}{role}": origin.label for role, origin in ref.origins.items()}
        tags |= {f"{ANNOTATOR_PREFIX}name": ref.annotator} if ref.annotator else {}
        run_id = data.start_run(f"{ref.name} {ref.digest[:12]}", tags=tags)
        data.client.log_artifact(run_id, ref.path)
        data.end_run(run_id, "FINISHED")


def log_data(data: DataRefs, registry: Registry, run_id: str) -> None:
    """Record tables as inputs of a run, and keep their figures, the page about them and the Data Docs with it."""
    registry.log_datasets(run_id, {table.name: table for table in data.tables})
    registry.log_estimates(run_id, data.estimates, file="data/estimates.json")
    registry.client.log_artifact(run_id, str(Path(data.report) / "report.html"), "data")
    registry.client.log_artifacts(run_id, str(Path(data.report) / "docs"), "data/docs")
