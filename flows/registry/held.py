"""What MLflow holds of a version, a run or an alias, as a statement writes it down and an audit reads it again.

Each thing has an address, such as `version tiny-sft/1`, and facets, such as its tags. Left out is what people write:
tags of their own, notes, and what stands below the line that ends a description.
"""

import hashlib
import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT

from flows.attestation.statement import digest_of
from flows.registry.model_card import END
from flows.registry.names import (
    ANNOTATOR_PREFIX,
    APPROVED_TAG,
    DATASET_PREFIX,
    ENDS_TAG,
    EVIDENCE_PREFIX,
    EVIDENCE_PRUNED_TAG,
    GATE_PREFIX,
    ORIGIN_PREFIX,
    PARENT_PREFIX,
    SOURCE_PREFIX,
    STATEMENT,
    WITHDRAWN_PREFIX,
)
from flows.registry.runs import FINAL
from flows.storage.digests import file_digests

OWN_TAGS = (
    *(GATE_PREFIX, PARENT_PREFIX, DATASET_PREFIX, SOURCE_PREFIX, ORIGIN_PREFIX, ANNOTATOR_PREFIX, EVIDENCE_PREFIX),
    *("rlhf.", "imported.", "model_card.", "chat_template.", WITHDRAWN_PREFIX, APPROVED_TAG),
)
"""How tags of versions begin that the pipeline sets."""

NOTES = ("mlflow.note.content", EVIDENCE_PRUNED_TAG)
"""Tags of runs that are set after the run: by people, and by what removes rows."""

INPUTS, FILES, CURVES = "inputs", "files", "points"
"""Facets of a run that take a look at it alone: models that it read, its files, all points of its metrics."""

EXACT = 2**53
"""Integers from here on are no numbers to every reader of JSON."""


def version_address(label: str) -> str:
    """Address of a registered version."""
    return f"version {label}"


def run_address(run_id: str) -> str:
    """Address of a run."""
    return f"run {run_id}"


def model_address(model_id: str) -> str:
    """Address of a logged model, which has the files of a version."""
    return f"model {model_id}"


def alias_address(name: str, alias: str) -> str:
    """Address of an alias, whose value is a version of that name."""
    return f"alias {name}@{alias}"


def held_version(version: ModelVersion) -> dict[str, Any]:
    """Facets of a version."""
    return {
        "tags": {key: value for key, value in sorted(version.tags.items()) if key.startswith(OWN_TAGS)},
        "description": described(version.description or ""),
        "source": str(version.source),
        "run": str(version.run_id),
        "made": version.creation_timestamp,
        "status": str(version.status),
        "stage": str(version.current_stage or "None"),
        "user": version.user_id or "",
    }


def held_model(model: LoggedModel) -> dict[str, Any]:
    """Facets of a logged model."""
    return {
        "run": str(model.source_run_id),
        "status": str(model.status),
        "name": model.name,
        "type": model.model_type or "",
        "made": model.creation_timestamp,
        "params": dict(sorted((model.params or {}).items())),
        "tags": {key: value for key, value in sorted(model.tags.items()) if key.startswith(OWN_TAGS)},
        "metrics": {metric.key: plain(metric.value) for metric in model.metrics or ()},
    }


def held_run(run: Run) -> dict[str, Any]:
    """Facets of a run; of its metrics the last values, which its page shows."""
    outputs = () if run.outputs is None else run.outputs.model_outputs
    return {
        "name": str(run.info.run_name),
        "experiment": str(run.info.experiment_id),
        "status": str(run.info.status),
        "started": run.info.start_time,
        "ended": run.info.end_time,
        "user": run.info.user_id or "",
        "tags": {key: value for key, value in sorted(run.data.tags.items()) if key not in NOTES},
        "params": dict(sorted(run.data.params.items())),
        "metrics": {key: plain(value) for key, value in sorted(run.data.metrics.items())},
        "datasets": _datasets(run),
        "places": _places(run),
        "outputs": sorted(output.model_id for output in outputs),
    }


def noted_end(run: Run) -> dict[str, Any]:
    """Facets that a run gets when it ends as its tag notes; none where nothing is noted."""
    status, _, when = run.data.tags.get(ENDS_TAG, "").partition(" ")
    return {"status": status, "ended": int(when)} if when else {}


def model_inputs(run: Run) -> list[str]:
    """Logged models that a run read; only `get_run` tells them."""
    inputs = () if run.inputs is None else run.inputs.model_inputs
    return sorted(each.model_id for each in inputs)


def kept_curves(client: MlflowClient, run: Run) -> dict[str, str]:
    """SHA-256 over steps, values and times of each metric that a run logged more than once, by its name."""
    names = sorted(name for name in run.data.metrics if not name.startswith(FINAL))
    history = {name: client.get_metric_history(run.info.run_id, name) for name in names}
    return {
        name: digest_of([[each.step, plain(each.value), each.timestamp] for each in points])
        for name, points in history.items()
    }


def kept_files(location: str) -> dict[str, str]:
    """SHA-256 of every file at an address of the artifact store, by its path there, less the copy of a statement."""
    store = get_artifact_repository(location)
    if not store.list_artifacts():
        return {}
    with tempfile.TemporaryDirectory() as scratch:
        local = isinstance(store, LocalArtifactRepository)
        files = file_digests(Path(store.download_artifacts("", None if local else scratch)))
    return {path: digest for path, digest in files.items() if path != STATEMENT}


def linked_statement(location: str) -> str:
    """SHA-256 of the copy of a statement to which pages of versions link; empty where there is none."""
    store = get_artifact_repository(location)
    if not any(item.path == STATEMENT for item in store.list_artifacts()):
        return ""
    with tempfile.TemporaryDirectory() as scratch:
        local = isinstance(store, LocalArtifactRepository)
        path = Path(store.download_artifacts(STATEMENT, None if local else scratch))
        return hashlib.sha256(path.read_bytes()).hexdigest()


def described(description: str) -> str:
    """SHA-256 of what the pipeline wrote of a description."""
    written, _, _ = f"{description}\n".partition(f"\n{END}\n")
    return hashlib.sha256(written.rstrip("\n").encode()).hexdigest()


def plain(value: Any) -> Any:
    """What any reader of JSON takes for the same: numbers that are none, and long ones, as texts."""
    match value:
        case bool() | str() | None:
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case int():
            return value if -EXACT < value < EXACT else str(value)
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
    return str(value)


def _datasets(run: Run) -> list[list[Any]]:
    """Use, name, digest and profile of what a run read, and what that was made from, wherever it lies now."""
    found = []
    for item in () if run.inputs is None else run.inputs.dataset_inputs:
        use = next((tag.value for tag in item.tags if tag.key == MLFLOW_DATASET_CONTEXT), "")
        try:
            source = json.loads(item.dataset.source or "{}")
        except ValueError:  # somebody wrote what no source of ours is
            source = item.dataset.source
        made_from = source.get("made_from", []) if isinstance(source, dict) else []
        found.append([use, item.dataset.name, item.dataset.digest, item.dataset.profile or "", made_from])
    return sorted(found, key=json.dumps)


def _places(run: Run) -> list[list[Any]]:
    """Name, file and columns of what a run read; the folder is another one where a store was moved."""
    found = []
    for item in () if run.inputs is None else run.inputs.dataset_inputs:
        try:
            source = json.loads(item.dataset.source or "{}")
        except ValueError:  # somebody wrote what no source of ours is
            source = item.dataset.source
        uri = source.get("uri", "") if isinstance(source, dict) else ""
        found.append(
            [item.dataset.name, str(uri).rpartition("/")[2], item.dataset.source_type, item.dataset.schema or ""]
        )
    return sorted(found, key=json.dumps)
