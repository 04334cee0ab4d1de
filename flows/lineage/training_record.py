"""The record of a training, read back from the tags, parameters and inputs of its MLflow run."""

import json
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from mlflow.entities import Dataset, Run
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from flows.registry.names import (
    COMMIT_TAG,
    COST_TAG,
    DIRTY_TAG,
    EVIDENCE,
    FLOW_RUN_TAG,
    HARDWARE_TAG,
    PACKAGES_TAG,
    PARENT_RUN_TAG,
    RESUMED_TAG,
    SECONDS_TAG,
)
from flows.registry.references import Counts
from rlhf_core.config import Frozen


class DatasetUse(Frozen):
    """A snapshot as a training used it.

    Attributes:
        contract: version of the contract that it met.
        sources: what its rows were made from.
        counts: what became of the raw rows; None where no sound report is kept.
    """

    name: str
    digest: str
    contract: str
    rows: int
    sources: tuple[str, ...]
    counts: Counts | None


class Training(Frozen):
    """A run that made versions; what it did not record is None or empty.

    Attributes:
        project: name of its experiment.
        ladder_run: run of the climb or flow around it, which keeps the whole configuration.
        flow_run: Prefect's flow run.
        started: seconds since the epoch.
        seconds: wall time of the training.
        resumed: when it went on after it was cut off, and after which event.
        settings: parameters of the stage by dotted name.
        figures: final metrics by name.
        uses: snapshots by use.
        evidence: SHA-256 of the files of rows that it names as evidence of its figures, by name.
    """

    run_id: str
    experiment_id: str
    project: str
    status: str
    ladder_run: str | None
    flow_run: str | None
    started: float
    seconds: float | None
    cost: float | None
    resumed: str | None
    commit: str | None
    dirty: bool
    packages: dict[str, str]
    hardware: dict[str, Any]
    settings: dict[str, str]
    figures: dict[str, float]
    uses: dict[str, DatasetUse]
    evidence: dict[str, str] = {}


def read_training(run: Run, project: str, reports: Mapping[str, Counts]) -> Training:
    """Read a run.

    Args:
        run: as MLflow gives it.
        project: name of its experiment.
        reports: what became of the raw rows of its tables, by name.
    """
    tags, metrics = run.data.tags, run.data.metrics
    return Training(
        run_id=run.info.run_id,
        experiment_id=run.info.experiment_id,
        project=project,
        status=run.info.status,
        ladder_run=tags.get(PARENT_RUN_TAG),
        flow_run=tags.get(FLOW_RUN_TAG),
        started=run.info.start_time / 1000,
        seconds=float(tags[SECONDS_TAG]) if SECONDS_TAG in tags else None,
        cost=float(tags[COST_TAG]) if COST_TAG in tags else None,
        resumed=tags.get(RESUMED_TAG),
        commit=tags.get(COMMIT_TAG),
        dirty=tags.get(DIRTY_TAG) == "true",
        packages=json.loads(tags.get(PACKAGES_TAG, "{}")),
        hardware=json.loads(tags.get(HARDWARE_TAG, "{}")),
        settings=dict(run.data.params),
        evidence=evidence_of(run),
        figures={key.removeprefix("final/"): value for key, value in metrics.items() if key.startswith("final/")},
        uses={use: _use(dataset, reports.get(dataset.name)) for use, dataset in datasets_of(run)},
    )


def datasets_of(run: Run) -> Iterator[tuple[str, Dataset]]:
    """The datasets that a run read, by use; what it wrote as evidence of its figures is none."""
    for item in run.inputs.dataset_inputs if run.inputs is not None else ():
        for tag in item.tags:
            if tag.key == MLFLOW_DATASET_CONTEXT and tag.value != EVIDENCE:
                yield tag.value, item.dataset


def evidence_of(run: Run) -> dict[str, str]:
    """SHA-256 of the files of rows that a run names as evidence of its figures, by name."""
    return {
        PurePosixPath(json.loads(item.dataset.source)["uri"]).stem: json.loads(str(item.dataset.profile))["sha256"]
        for item in (run.inputs.dataset_inputs if run.inputs is not None else ())
        if any(tag.key == MLFLOW_DATASET_CONTEXT and tag.value == EVIDENCE for tag in item.tags)
    }


def _use(dataset: Dataset, counts: Counts | None) -> DatasetUse:
    profile = json.loads(str(dataset.profile))
    return DatasetUse(
        name=dataset.name,
        digest=profile["digest"],
        contract=profile["contract_version"],
        rows=profile["num_rows"],
        sources=tuple(json.loads(dataset.source)["made_from"]),
        counts=counts,
    )
