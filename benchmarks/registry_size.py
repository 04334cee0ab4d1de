"""How long the questions about lineage take in a registry of many versions, on a real MLflow server.

`python -m benchmarks.registry_size` registers ladders of toy models whose files are a few bytes, then asks by the
command line and in a process that is already running.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from mlflow import MlflowClient

from benchmarks.machine import machine
from flows.archive import Archive
from flows.environment import quiet
from flows.lineage import lineage_tags
from flows.pages import free_port
from flows.provenance import spent, surroundings
from flows.references import DatasetRef, ModelRef
from flows.registry import Registry, open_registry
from flows.report import impact
from flows.report.lineage import as_json, tell
from rlhf_core.stage import Event

RESULTS = Path(__file__).parent / "results" / "registry_size.json"
PROJECT = "many"
PER_LADDER = 6
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

app = typer.Typer(add_completion=False)


@app.command()
def main(
    versions: Annotated[int, typer.Option(help="Versions in the registry.")] = 2000,
    repeats: Annotated[int, typer.Option(min=3, help="Times that each question is asked.")] = 5,
    results: Path = RESULTS,
) -> None:
    """Fill a registry, ask, and keep and print how long the answers took."""
    quiet()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, server(Path(folder)) as address:
        os.environ["MLFLOW_TRACKING_URI"] = address
        began = time.monotonic()
        registered = fill(open_registry(PROJECT, Path(folder)), versions, Path(folder))
        filled = time.monotonic() - began
        last = registered["policy"]
        dataset = f"dataset:{digest('preferences', versions // PER_LADDER // 2)}"
        archive = Archive(MlflowClient())
        asked: dict[str, Callable[[], object]] = {
            "lineage of the champion": lambda: as_json(tell(archive, f"{PROJECT}-policy@champion")),
            "impact of a dataset": lambda: impact.render(archive, dataset),
            "impact of the first base": lambda: impact.render(archive, f"{PROJECT}-base/1"),
            "`rlhf --help`": command("--help"),
            "`rlhf lineage`": command("lineage", f"{PROJECT}-policy@champion"),
            "`rlhf impact` of a dataset": command("impact", dataset),
        }
        seconds = {name: timed(question, repeats) for name, question in asked.items()}
    kept = {
        "machine": machine(),
        "versions": int(last.version) * PER_LADDER,
        "filled_seconds": filled,
        "repeats": repeats,
        "seconds": seconds,
    }
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps(kept, indent=1) + "\n")
    for name, taken in seconds.items():
        typer.echo(f"{name}: median {statistics.median(taken):.2f} s, slowest {max(taken):.2f} s")


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


def fill(registry: Registry, versions: int, folder: Path) -> dict[str, ModelRef]:
    """Register ladders until there are so many versions; the last policy becomes the champion."""
    model, report = folder / "model", folder / "report"
    model.mkdir()
    report.mkdir()
    counts = {"rows": 1, "records": 1, "written": 1, "merged": 0, "quarantined": 0, "by_rule": {}, "left_out": {}}
    (report / "counts.json").write_text(json.dumps(counts | {"sources": {}}))
    made: dict[str, ModelRef] = {}
    for ladder in range(-(-versions // PER_LADDER)):
        climb = registry.start_run("ladder")
        for stage in PARENTS:
            made[stage] = register(registry, stage, ladder, made, climb, model, report)
        registry.end_run(climb, "FINISHED")
    registry.set_alias(made["policy"], "champion")
    return made


def register(
    registry: Registry, stage: str, ladder: int, made: dict[str, ModelRef], climb: str, model: Path, report: Path
) -> ModelRef:
    """Register one toy with all that a stage records of itself."""
    (model / "config.json").write_text(json.dumps([stage, ladder]))
    parents = {role: made[role] for role in PARENTS[stage]}
    datasets = {
        use: DatasetRef(
            name=table, digest=digest(table, ladder), path="", rows=1, splits={}, sources=(), report=str(report)
        )
        for use, table in TABLES.get(stage, {}).items()
    }
    tags = {"rlhf.stage": stage, "rlhf.key": f"{stage}-{ladder}", **surroundings(), **spent(1.0, 1.0)}
    run_id = registry.start_run(stage, parent=climb, tags=tags)
    registry.log_params(run_id, {stage: {f"setting{number}": number for number in range(20)}})
    registry.log_events(run_id, [Event(0, {"final/temperature": 1.0})])
    registry.log_datasets(run_id, datasets)
    ref = registry.register(
        model,
        f"{PROJECT}-{stage}",
        run_id=run_id,
        parents=parents,
        tags={**lineage_tags(parents, datasets), "rlhf.key": f"{stage}-{ladder}", "gate.status": "passed"},
        description="A toy.",
    )
    registry.end_run(run_id, "FINISHED")
    return ref


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """An MLflow server on SQLite that serves its artifacts."""
    port = free_port(0)
    stores = [
        "--backend-store-uri",
        f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination",
        str(folder / "kept"),
    ]
    line = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
        *stores,
    ]
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
    app()
