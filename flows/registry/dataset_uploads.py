"""Datasets in MLflow: snapshots, each once and in a run of its own, there and back; the report of a run's data."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

from mlflow.exceptions import MlflowException

from flows.outages import gave_up
from flows.registry.client import Registry, open_registry
from flows.registry.contributors import keep_contributors
from flows.registry.names import (
    ANNOTATOR_PREFIX,
    CONTRACT_TAG,
    DATA_TAG,
    NAME_TAG,
    ORIGIN_PREFIX,
    RATERS_RECORD,
    SNAPSHOT_TAG,
    data_experiment,
)
from flows.registry.references import DataRefs, DatasetRef, ModelRef
from flows.registry.statements import conclude, state_tags, table_subject
from rlhf_core.training.stage import Event

FILES = "files.json"
"""In the report of an ingestion: SHA-256 of every file that was there at its start, by use, position and name."""

DIGEST_FILE = "digest"
"""In the report of a table: the digest of its snapshot, by which `rlhf prune` knows what nothing reuses."""

GROWTH = "data/growth.json"
"""Of a run that read data: what was new in them."""


def keep_snapshots(refs: Iterable[DatasetRef], project: str, registry: Registry) -> None:
    """Upload the snapshots that the artifact store does not have yet.

    Of two climbs that do so at the same moment both may; either copy serves.
    """
    data, refs = open_registry(data_experiment(project), registry.storage), list(refs)
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
    _tell_contributors(refs, project, registry)


def _tell_contributors(refs: Iterable[DatasetRef], project: str, registry: Registry) -> None:
    """Say with snapshots that are kept who gave their rows this time, and state that it stands there."""
    for run_id in keep_contributors(refs, project, registry):
        state_tags(registry, run_id)


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
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for run in kept:
            try:
                copy = registry.client.download_artifacts(run.info.run_id, f"{digest}.parquet", scratch)
                return Path(copy).replace(folder / f"{digest}.parquet")
            except (MlflowException, OSError) as error:
                if gave_up(error):
                    raise
    raise FileNotFoundError(f"{recorded} is gone, and the artifact store has no copy")


def log_data(data: DataRefs, project: str, registry: Registry, run_id: str) -> None:
    """Record tables as inputs of a run, and keep their figures, the page about them and the Data Docs with it.

    How many rows were withdrawn is a metric for each table that had any; `GROWTH` says what was new.
    Where labels have names, what is known of each rater is `data/raters.json`.
    """
    registry.log_datasets(run_id, {table.name: table for table in data.tables})
    registry.log_estimates(run_id, data.estimates, file="data/estimates.json")
    if data.raters:
        raters = {name: figures.model_dump(mode="json") for name, figures in data.raters.items()}
        registry.client.log_dict(run_id, raters, RATERS_RECORD)
    registry.client.log_artifact(run_id, str(Path(data.report) / "report.html"), "data")
    registry.client.log_artifact(run_id, str(Path(data.report) / FILES), "data")
    registry.client.log_artifacts(run_id, str(Path(data.report) / "docs"), "data/docs")
    registry.client.log_dict(run_id, {"growth": data.growth}, GROWTH)
    withdrawn = {
        f"data/{kind}_withdrawn": float(counts.withdrawn) for kind, counts in data.counts.items() if counts.withdrawn
    }
    registry.log_events(run_id, [Event(0, withdrawn)] if withdrawn else [])
    _tell_contributors(data.tables, project, registry)
    registry.tag_run(run_id, {DATA_TAG: data.digest})
