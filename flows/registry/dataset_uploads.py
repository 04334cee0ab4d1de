"""Datasets in MLflow: snapshots, each once and in a run of its own, there and back; the report of a run's data."""

import contextlib
import tempfile
from collections.abc import Iterable
from pathlib import Path

from mlflow.exceptions import MlflowException

from flows.registry.client import Registry, open_registry
from flows.registry.names import (
    ANNOTATOR_PREFIX,
    CONTRACT_TAG,
    NAME_TAG,
    ORIGIN_PREFIX,
    SNAPSHOT_TAG,
    data_experiment,
)
from flows.registry.references import DataRefs, DatasetRef, ModelRef
from flows.registry.statements import conclude, table_subject


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
        conclude(registry, data, run_id, "snapshot", "FINISHED", [table_subject(ref)])


def fetch_snapshot(digest: str, recorded: Path, version: ModelRef, registry: Registry) -> Path:
    """Where a snapshot lies on this machine that a version was made from; a copy of the kept one, where it did not.

    Args:
        digest: of its content.
        recorded: where it lay then.
        version: whose project keeps it.
        registry: where that is.

    Raises:
        FileNotFoundError: if it is neither here nor in the artifact store.
    """
    here = [recorded, *(registry.storage / "snapshots").glob(f"*/{digest}.parquet")]
    if path := next(filter(Path.is_file, here), None):
        return path
    run = registry.client.get_run(version.run_id)
    project = registry.client.get_experiment(run.info.experiment_id).name
    data = registry.client.get_experiment_by_name(data_experiment(project))
    query = f"tags.`{SNAPSHOT_TAG}` = '{digest}' and attributes.status = 'FINISHED'"
    kept = registry.client.search_runs([data.experiment_id], query, max_results=1) if data else []
    folder = registry.storage / "snapshots" / "fetched"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch, contextlib.suppress(MlflowException, OSError):
        for run in kept:
            copy = registry.client.download_artifacts(run.info.run_id, f"{digest}.parquet", scratch)
            return Path(copy).replace(folder / f"{digest}.parquet")
    raise FileNotFoundError(f"{recorded} is gone, and the artifact store has no copy")


def log_data(data: DataRefs, registry: Registry, run_id: str) -> None:
    """Record tables as inputs of a run, and keep their figures, the page about them and the Data Docs with it."""
    registry.log_datasets(run_id, {table.name: table for table in data.tables})
    registry.log_estimates(run_id, data.estimates, file="data/estimates.json")
    registry.client.log_artifact(run_id, str(Path(data.report) / "report.html"), "data")
    registry.client.log_artifacts(run_id, str(Path(data.report) / "docs"), "data/docs")
