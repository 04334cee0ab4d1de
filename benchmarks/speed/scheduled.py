"""Many scheduled ladders at once on the real stack: is a run lost, a version made twice, an alias moved by a loser?

`python -m benchmarks.speed.scheduled` brings a stack of its own up (PostgreSQL, both servers, two workers), deploys the
smallest configuration, schedules its runs and watches them. Seeds come in pairs, due at the same time, so that two runs
want to train the same thing at once; every fifth seed has a gate that no policy passes. The first policy that becomes
`challenger` is made `champion` by hand, as people do, and nobody may move it after that.
"""

import copy
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from dotenv import dotenv_values
from mlflow import MlflowClient
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Scheduled

from benchmarks.common.machine import machine
from flows.deploy.deployments import POOL, TRAINING
from flows.deploy.pages import free_port
from flows.registry.names import DIGEST_TAG, STATUS_TAG

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parents[1] / "results" / "scheduled.json"
PROJECT = "load"
PORTS = {"POSTGRES_PORT": 5533, "PREFECT_PORT": 4300, "MLFLOW_PORT": 5100, "RECEIVER_PORT": 5150, "WORKER_PORT": 4310}
EVERY_SECONDS = 5.0
"""Between two pairs of runs."""
LOSING = 5
"""Every so manieth seed has a gate that no policy passes."""
IMPOSSIBLE = {
    "name": "impossible",
    "metric": "kl_to_sft_nats",
    "direction": "below",
    "threshold": -1000.0,
    "min_samples": 5,
    "failure": "lost on purpose",
    "reason": "No policy passes this.",
}


def main(
    runs: Annotated[int, typer.Option(min=2, help="Scheduled runs; two of each seed.")] = 40,
    at_once: Annotated[int, typer.Option(min=1, help="Runs that the queue lets through at once.")] = 4,
    workers: Annotated[int, typer.Option(min=1, help="Workers that take them.")] = 2,
    hours: Annotated[float, typer.Option(help="Longest time until all have ended.")] = 2.0,
    results: Annotated[Path, typer.Option(help="File for the JSON.")] = RESULTS,
) -> None:
    """Schedule ladders, wait for all of them, and say what became of runs, versions and aliases."""
    with tempfile.TemporaryDirectory() as folder, _stack(Path(folder), workers) as environment:
        os.environ.update(environment)
        deploy = ["deploy", "configs/tiny.yaml", "--set", f"project={PROJECT}", "--set", f"storage={folder}/storage"]
        _call(str(Path(sys.executable).with_name("rlhf")), *deploy, "--set", f"deploy.gpus={at_once}")
        # Prefect read its settings when it was imported
        on_the_stack = temporary_settings({PREFECT_API_URL: environment["PREFECT_API_URL"]})
        with on_the_stack, get_client(sync_client=True) as client:
            started = time.monotonic()
            seeds = _schedule(client, runs)
            watched = _watch(client, list(seeds), time.monotonic() + 3600 * hours)
            seconds = time.monotonic() - started
            found = {
                "machine": machine(),
                "runs": runs,
                "at_once": at_once,
                "workers": workers,
                "seconds": seconds,
                **watched,
                **_ended(client, seeds),
                **_registered(watched["champion"]),
            }
    results.write_text(json.dumps(found, indent=1) + "\n")
    typer.echo(json.dumps({name: value for name, value in found.items() if name != "machine"}, indent=1))


@contextmanager
def _stack(folder: Path, workers: int) -> Iterator[dict[str, str]]:
    """A stack on free ports, and what it tells its clients."""
    folder.chmod(0o711)  # the user of PostgreSQL goes through
    stack = folder / "stack"
    settings = {name: str(free_port(wanted)) for name, wanted in PORTS.items()}
    settings |= {"WORKERS": str(workers), "STACK": str(stack)}
    try:
        _call(sys.executable, "infra/stack.py", "up", **settings)
        yield {name: value for name, value in dotenv_values(stack / "env").items() if value}
    finally:
        _call(sys.executable, "infra/stack.py", "down", STACK=str(stack))


def _call(*command: str, **environment: str) -> None:
    subprocess.run(command, cwd=ROOT, env=os.environ | environment, check=True)


def _schedule(client: SyncPrefectClient, runs: int) -> dict[UUID, int]:
    """Runs of the ladder's deployment with their seeds, a pair due every few seconds."""
    deployment = client.read_deployment_by_name(f"rlhf-ladder/{PROJECT}")
    start, seeds = datetime.now(UTC) + timedelta(seconds=EVERY_SECONDS), {}
    for number in range(runs):
        seed = 1 + number // 2
        parameters = copy.deepcopy(deployment.parameters)
        parameters["config"]["seed"] = seed
        if seed % LOSING == 0:
            parameters["config"]["gates"]["policy"].append(IMPOSSIBLE)
        due = Scheduled(scheduled_time=start + (number // 2) * timedelta(seconds=EVERY_SECONDS))
        run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters, state=due)
        seeds[run.id] = seed
    return seeds


def _watch(client: SyncPrefectClient, runs: list[UUID], deadline: float) -> dict[str, Any]:
    """Wait for all runs; how many went on at once at most, and who was made champion meanwhile."""
    most, champion, registry = 0, None, MlflowClient()
    while True:
        found = _read(client, runs)
        states = Counter(run.state.type.value for run in found if run.state)
        most = max(most, states["RUNNING"] + states["PENDING"])
        champion = champion or _promote(registry)
        left = sum(not run.state or not run.state.is_final() for run in found)
        typer.echo(f"{datetime.now():%H:%M:%S} {dict(states)}")
        if not left or time.monotonic() > deadline:
            return {"most_at_once": most, "champion": champion, "not_ended": left}
        time.sleep(10)


def _promote(registry: MlflowClient) -> str | None:
    """Make the challenger champion, if there is one."""
    names = [model.name for model in registry.search_registered_models() if model.name == f"{PROJECT}-policy"]
    version = registry.get_registered_model(names[0]).aliases.get("challenger") if names else None
    if version:
        registry.set_registered_model_alias(names[0], "champion", version)
    return version


def _read(client: SyncPrefectClient, runs: list[UUID]) -> list[FlowRun]:
    return client.read_flow_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=runs)), limit=200)


def _ended(client: SyncPrefectClient, seeds: dict[UUID, int]) -> dict[str, Any]:
    """How runs ended, by the name of their last state, and how long they took."""
    found = _read(client, list(seeds))
    losing, others = Counter[str](), Counter[str]()
    for run in found:
        (losing if seeds[run.id] % LOSING == 0 else others)[run.state_name or "none"] += 1
    seconds = sorted(run.total_run_time.total_seconds() for run in found)
    return {
        "lost": len(seeds) - len(found),
        "states": dict(others),
        "states_of_losing_seeds": dict(losing),
        "failed_without_a_gate": [
            {"run": run.name, "seed": seeds[run.id], "message": run.state.message if run.state else None}
            for run in found
            if run.state_name not in ("Completed", "NothingToRetrain") and seeds[run.id] % LOSING
        ],
        "run_seconds": {"median": statistics.median(seconds), "range": [seconds[0], seconds[-1]]},
        "more_runs_of_the_project": client.count_flow_runs() - len(found),
        "queue": f"{POOL}/{TRAINING}",
    }


def _registered(champion: str | None) -> dict[str, Any]:
    """Versions of each model, those made twice, and who has the aliases."""
    registry = MlflowClient()
    versions, twice, wrong = {}, {}, []
    for model in registry.search_registered_models():
        made = registry.search_model_versions(f"name='{model.name}'", max_results=1000)
        contents = Counter(version.tags[DIGEST_TAG] for version in made)
        versions[model.name] = len(made)
        twice[model.name] = sum(count - 1 for count in contents.values())
        challenger = model.aliases.get("challenger")
        if challenger and registry.get_model_version(model.name, challenger).tags.get(STATUS_TAG) == "failed":
            wrong.append(f"challenger of {model.name} is {challenger}, whose gates failed")
    held = registry.get_registered_model(f"{PROJECT}-policy").aliases.get("champion")
    if held != champion:
        wrong.append(f"champion moved from {champion} to {held}")
    return {"versions": versions, "made_twice": twice, "aliases_moved_by_a_loser": wrong}


if __name__ == "__main__":
    typer.run(main)
