"""What a storage holds after its climbs: weights, runs, versions, steps, and what the doctor finds."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from mlflow import MlflowClient
from mlflow.entities import Run

from flows.registry.names import STAGES, registered_name
from flows.registry.runs import FINAL

PROJECT = "tiny"


class Aftermath(NamedTuple):
    """What is left.

    Attributes:
        weights: SHA-256 of each file of weights, by registered name, of its newest version.
        versions: how many each name has.
        runs: how many each stage has.
        unfinished: runs that say they are running.
        orphans: logged models that belong to no version.
        steps: how often each step was logged, by stage and metric.
        champions: versions that are champion, by name.
    """

    weights: dict[str, dict[str, str]]
    versions: dict[str, int]
    runs: dict[str, int]
    unfinished: int
    orphans: int
    steps: dict[str, dict[str, Counter[int]]]
    champions: dict[str, str]


class Comparison(NamedTuple):
    """A storage beside one that nothing disturbed.

    Attributes:
        identical: whether all weights are the same, byte by byte.
        twice: steps that were logged more than once.
        missing: steps that were not logged.
        spare_runs: runs of stages beyond those without faults.
        spare_versions: versions beyond those without faults.
    """

    identical: bool
    twice: int
    missing: int
    spare_runs: int
    spare_versions: int


def read_aftermath(storage: Path, tracking: str = "") -> Aftermath:
    """Read what a storage holds, and its own database or the MLflow at an address."""
    client = MlflowClient(tracking_uri=tracking or f"sqlite:///{storage / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(PROJECT)
    assert experiment is not None
    runs = list(client.search_runs([experiment.experiment_id]))
    ids = {run.info.run_id: run.data.tags.get("rlhf.stage", "") for run in runs}
    wanted = [stage for stage in STAGES if stage in ids.values()]
    models = {model.name: model for model in client.search_registered_models()}
    names = [registered_name(PROJECT, model) for model in [*wanted, *(["value"] if "policy" in wanted else [])]]
    versions = {name: client.search_model_versions(f"name='{name}'") for name in names if name in models}
    named = {str(version.source).removeprefix("models:/") for of in versions.values() for version in of}
    logged = client.search_logged_models([experiment.experiment_id])
    return Aftermath(
        weights={
            name: _weights(client, storage, max(of, key=lambda one: int(one.version))) for name, of in versions.items()
        },
        versions={name: len(of) for name, of in versions.items()},
        runs={stage: list(ids.values()).count(stage) for stage in wanted},
        unfinished=sum(run.info.status == "RUNNING" for run in runs),
        orphans=sum(model.model_id not in named and model.name in names for model in logged),
        steps={stage: _steps(client, [run for run in runs if ids[run.info.run_id] == stage]) for stage in wanted},
        champions={name: model.aliases["champion"] for name, model in models.items() if "champion" in model.aliases},
    )


def compare(after: Aftermath, calm: Aftermath) -> Comparison:
    """Hold what is left after faults against what is left without."""
    differences = [
        (found - expected, expected - found)
        for stage, metrics in calm.steps.items()
        for name, expected in metrics.items()
        for found in [after.steps.get(stage, {}).get(name, Counter())]
    ]
    return Comparison(
        identical=after.weights == calm.weights,
        twice=sum(more.total() for more, _ in differences),
        missing=sum(less.total() for _, less in differences),
        spare_runs=sum(after.runs.values()) - sum(calm.runs.values()),
        spare_versions=sum(after.versions.values()) - sum(calm.versions.values()),
    )


def lost_steps(storage: Path) -> int:
    """Steps that a climb which was just killed has done and will do again: those after the last state that is kept."""
    lost = 0
    for states in storage.glob("work/*.states"):
        journal = states / "events.jsonl"
        if journal.exists() and not (states / "finished.json").exists():
            done = journal.read_bytes().count(b"\n")
            kept = sorted(states.glob("step-*/notes.json"))
            lost += max(done - (json.loads(kept[-1].read_text())["step"] if kept else 0), 0)
    return lost


def _weights(client: MlflowClient, storage: Path, version: object) -> dict[str, str]:
    model = client.get_logged_model(str(version.source).removeprefix("models:/"))  # type: ignore[attr-defined]
    place = model.artifact_location.replace("mlflow-artifacts:", f"{storage / 'artifacts'}")
    folder = Path(place.removeprefix("file://"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.safetensors")}


def _steps(client: MlflowClient, runs: list[Run]) -> dict[str, Counter[int]]:
    steps: dict[str, Counter[int]] = {}
    for run in runs:
        for name in run.data.metrics:
            if not name.startswith(FINAL):
                history = client.get_metric_history(run.info.run_id, name)
                steps.setdefault(name, Counter()).update(metric.step for metric in history)
    return steps
