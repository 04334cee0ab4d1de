"""How long questions about lineage, promotions and audits take in a registry of many versions.

`python -m benchmarks.speed.registry_size fill FOLDER` registers and states ladders of toys; `audit FOLDER` audits them,
as a copy on one machine is audited; `ask FOLDER` asks a real MLflow server in a process that is already running, and by
the command line, whose time includes its start and imports. A promotion is timed without the comparison that `rlhf
promote` shows first, because toys answer nothing.
"""

import itertools
import json
import os
import resource
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from mlflow import MlflowClient
from mlflow.db import upgrade
from mlflow.entities import DatasetInput, InputTag, Metric, Param

from benchmarks.common.machine import machine
from benchmarks.speed.stated_toys import state_toys
from flows.deploy.environment import quiet
from flows.deploy.pages import free_port
from flows.lineage import impact
from flows.lineage.archive import Archive
from flows.lineage.story import as_json, tell
from flows.promotion.history import history, recorded_promotion
from flows.promotion.promote import promote, propose
from flows.registry.client import Registry, open_registry
from flows.registry.names import CHAMPION, DIGEST_TAG
from flows.registry.provenance import spent, surroundings
from flows.registry.references import Counts, DatasetRef, ModelRef
from flows.registry.tags import dataset_entity, lineage_tags

RESULTS = Path(__file__).parents[1] / "results" / "registry_size.json"
AUDITED = RESULTS.with_name("registry_audit.json")
PROJECT = "many"
ARTIFACTS = "artifacts"
LADDERS_PER_TABLE = 10
PARENTS = {
    "base": (),
    "sft": ("base",),
    "reward-model": ("sft",),
    "judge": ("sft",),
    "policy": ("sft", "reward-model", "judge"),
    "value": ("sft", "reward-model", "judge"),
}
TABLES = {
    "sft": {"training": "demonstrations"},
    "reward-model": {"training": "preferences", "centring": "demonstrations"},
    "judge": {"training": "preferences", "centring": "demonstrations"},
    "policy": {"training": "prompts"},
    "value": {"training": "prompts"},
}

COUNTS = Counts(rows=1, records=1, written=1, merged=0, quarantined=0, by_rule={}, left_out={}, sources={})

app = typer.Typer(add_completion=False)


FolderArgument = Annotated[Path, typer.Argument(help="Where the registry is.")]


@app.command("fill")
def fill_folder(
    folder: FolderArgument, versions: Annotated[int, typer.Option(help="Versions in the registry.")] = 2000
) -> None:
    """Make a registry in a new folder."""
    folder.mkdir(parents=True)
    fill(_database(folder), -(-versions // len(PARENTS)), folder.resolve())


@app.command("audit")
def audit_folder(
    folder: FolderArgument,
    repeats: Annotated[int, typer.Option(min=1, help="Times that it is audited.")] = 3,
    results: Path = AUDITED,
) -> None:
    """Audit a registry without --deep, and keep what that took; everything must hold."""
    os.environ["MLFLOW_TRACKING_URI"] = _database(folder)
    audit = command("audit", "--json", "--key", str(folder.resolve() / "keys" / "pipeline.pub"))
    load, taken = os.getloadavg()[0], []
    for _ in range(repeats):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        audit()
        wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append({"wall": wall, "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime})
    versions = len(archive().everything().versions)
    statements = len(list((folder / ARTIFACTS / PROJECT / "statements" / PROJECT).iterdir()))
    kept = {"machine": machine(), "load_before": load, "versions": versions, "statements": statements, "taken": taken}
    results.write_text(json.dumps(kept, indent=1) + "\n")
    for name in ("cpu", "wall"):
        typer.echo(f"{versions} versions, {statements} statements: {min(each[name] for each in taken):.1f} {name} s")


@app.command("ask")
def ask_folder(
    folder: FolderArgument,
    repeats: Annotated[int, typer.Option(min=3, help="Times that each question is asked.")] = 5,
    results: Path = RESULTS,
) -> None:
    """Ask a registry, keep and print how long the answers took."""
    _let_serve(folder)
    with server(_database(folder), folder) as address:
        os.environ["MLFLOW_TRACKING_URI"] = address
        versions = len(archive().everything().versions)
        load = os.getloadavg()[0]
        seconds = ask(versions // len(PARENTS), repeats, open_registry(PROJECT, folder))
    kept = {"machine": machine(), "load_before": load, "versions": versions, "seconds": seconds}
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps(kept, indent=1) + "\n")
    for question, taken in seconds.items():
        typer.echo(f"{question}: median {statistics.median(taken):.2f} s, slowest {max(taken):.2f} s")


def ask(ladders: int, repeats: int, registry: Registry) -> dict[str, list[float]]:
    """Seconds of every answer, by question."""
    dataset = f"dataset:{digest('preferences', ladders // 2)}"
    champion = f"{PROJECT}-policy@champion"
    versions = itertools.cycle([f"{PROJECT}-policy/{number}" for number in (1, 2)])
    questions: dict[str, Callable[[], object]] = {
        "lineage of the champion": lambda: as_json(tell(archive(), champion)),
        "impact of a dataset": lambda: impact.render(archive(), dataset),
        "impact of the first SFT model": lambda: impact.render(archive(), f"{PROJECT}-sft/1"),
        "history of the policy": lambda: history(registry, f"{PROJECT}-policy"),
        "promotion of a policy": lambda: promote(registry, propose(registry, next(versions)), by="benchmark"),
        "rlhf --help": command("--help"),
        "rlhf lineage": command("lineage", champion),
        "rlhf impact": command("impact", dataset),
        "rlhf history": command("history", f"{PROJECT}-policy", "--set", f"project={PROJECT}"),
    }
    return {name: timed(question, repeats) for name, question in questions.items()}


def _database(folder: Path) -> str:
    return f"sqlite:///{folder.resolve() / 'mlflow.db'}"


def archive() -> Archive:
    """One that has read nothing yet."""
    return Archive(MlflowClient())


def timed(question: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each answer."""
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        question()
        taken.append(time.perf_counter() - began)
    return taken


def command(*arguments: str) -> Callable[[], object]:
    """A command as it is typed, its start and imports included."""
    line = [sys.executable, "-c", "from flows.cli import main; main()", *arguments]
    return lambda: subprocess.run(line, check=True, capture_output=True)


def digest(table: str, ladder: int) -> str:
    """A made-up digest of the table that a ladder read; several ladders read the same."""
    return f"{sum(map(ord, table)):032x}{ladder // LADDERS_PER_TABLE:032x}"


def _let_serve(folder: Path) -> None:
    """Let the artifacts of a registry be had by its server only, as of servers they are."""
    here = (folder.resolve() / ARTIFACTS / PROJECT).as_uri()
    with closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            change = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"  # noqa: S608 (ours)
            database.execute(change, (here, f"mlflow-artifacts:/{PROJECT}"))


def fill(database: str, ladders: int, folder: Path) -> None:
    """Register and state ladders of toys; every policy became champion in its turn.

    Args:
        database: where the registry is.
        ladders: how many.
        folder: storage of the registry, whose artifacts a server will serve.
    """
    artifacts = folder / ARTIFACTS
    upgrade.main([database], standalone_mode=False)
    os.environ["MLFLOW_TRACKING_URI"] = database
    client = MlflowClient()
    experiment = client.create_experiment(PROJECT, artifact_location=(artifacts / PROJECT).as_uri())
    registry = open_registry(PROJECT, folder)
    for stage in PARENTS:
        client.create_registered_model(f"{PROJECT}-{stage}")
    made: dict[str, ModelRef] = {}
    for ladder in range(ladders):
        climb = client.create_run(experiment, run_name="ladder").info.run_id
        for stage in PARENTS:
            made[stage] = register(client, experiment, stage, ladder, made, climb, artifacts)
        state_toys(registry, made, climb)
        registry.set_alias(made["policy"], CHAMPION)
        version, previous = made["policy"].version, str(ladder) if ladder else None
        with recorded_promotion(
            registry,
            model=made["policy"].name,
            version=version,
            previous=previous,
            by="benchmark",
            why="the next week",
            how="rlhf promote",
            forced=False,
        ):
            pass


def register(
    client: MlflowClient,
    experiment: str,
    stage: str,
    ladder: int,
    made: dict[str, ModelRef],
    climb: str,
    artifacts: Path,
) -> ModelRef:
    """Register a toy with all that lineage and impact read of a real one; it has no files."""
    parents = {role: made[role] for role in PARENTS[stage]}
    datasets = {use: table(name, ladder) for use, name in TABLES.get(stage, {}).items()}
    tags = {"rlhf.stage": stage, "mlflow.parentRunId": climb, **surroundings(), **spent(1.0, 1.0)}
    run_id = client.create_run(experiment, run_name=stage, tags=tags).info.run_id
    params = [Param(f"{stage}.setting{number}", str(number)) for number in range(20)]
    client.log_batch(run_id, metrics=[Metric("final/temperature", 1.0, 0, 0)], params=params)
    context = "mlflow.data.context"
    inputs = [DatasetInput(dataset_entity(ref), [InputTag(context, use)]) for use, ref in datasets.items()]
    client.log_inputs(run_id, datasets=inputs)
    for ref in datasets.values():
        report = artifacts / PROJECT / run_id / "artifacts" / "data" / ref.name / "counts.json"
        report.parent.mkdir(parents=True)
        report.write_text(COUNTS.model_dump_json())
    name, content = f"{PROJECT}-{stage}", f"{stage}{ladder:0{64 - len(stage)}x}"
    model = client.create_logged_model(experiment, name=name, source_run_id=run_id)
    version = client.create_model_version(
        name,
        f"models:/{model.model_id}",
        run_id,
        tags={
            **lineage_tags(parents, datasets, {}),
            DIGEST_TAG: content,
            "rlhf.key": f"{stage}-{ladder}",
            "gate.status": "passed",
        },
        model_id=model.model_id,
    )
    return ModelRef(
        name=name, version=str(version.version), model_id=model.model_id, uri="", digest=content, run_id=run_id
    )


def table(name: str, ladder: int) -> DatasetRef:
    """A made-up table; ten ladders in turn read the same."""
    return DatasetRef(
        name=name, digest=digest(name, ladder), path="", rows=1, splits={"train": 1}, sources=(), report=""
    )


@contextmanager
def server(database: str, folder: Path) -> Iterator[str]:
    """An MLflow server on a registry, which serves its artifacts."""
    port = free_port(0)
    line = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    line += ["--backend-store-uri", database, "--artifacts-destination", str(folder / ARTIFACTS)]
    address = f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(line, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            while not _answers(address):
                time.sleep(0.2)
            yield address
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    quiet()
    app()
