"""A climb that is killed in the middle of a stage goes on with that stage, and nothing of it stays behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.conftest import ROOT
from tests.forked import run_rlhf

RLHF = Path(sys.executable).with_name("rlhf")
SLOW_ENOUGH = "reward_model.epochs=8"  # some seconds, as every step keeps a state, in which the signal arrives


def start(storage: Path) -> subprocess.Popen[str]:
    settings = (f"storage={storage}", SLOW_ENOUGH, "compute.checkpoint_seconds=0")
    command = [RLHF, "run", "configs/tiny.yaml", *(part for setting in settings for part in ("--set", setting))]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_HOME")}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_line(climb: subprocess.Popen[str], line: str) -> None:
    assert climb.stderr is not None
    for found in climb.stderr:
        if line in found:
            return
    pytest.fail(f"the climb ended with {climb.wait()} before it said {line!r}")


def servers(storage: Path) -> list[int]:
    """Prefect servers of this storage."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment, command = (folder / "environ").read_bytes(), (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"flows.deploy.prefect_api" in command and f"PREFECT_HOME={storage}/prefect".encode() in environment:
            found.append(int(folder.name))
    return found


def runs(storage: Path, name: str) -> list[Run]:
    client = MlflowClient(tracking_uri=f"sqlite:///{storage / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    query = f"attributes.run_name = '{name}'"
    return list(client.search_runs([experiment.experiment_id], query, order_by=["attributes.start_time ASC"]))


READ_PREFECT = """
import json
from flows.deploy.prefect_server import start_server
start_server()
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    found = sorted(client.read_flow_runs(), key=lambda run: run.expected_start_time)
    print(json.dumps([(client.read_flow(run.flow_id).name, run.state.type.value) for run in found]))
"""


def flow_runs(storage: Path) -> dict[str, list[str]]:
    """States of the flow runs by flow, the oldest first, as Prefect has them."""
    environment = os.environ | {"PREFECT_HOME": str(storage / "prefect"), "PREFECT_LOGGING_LEVEL": "CRITICAL"}
    done = run_rlhf(environment=environment, code=READ_PREFECT)
    assert done.returncode == 0, done.stderr
    states: dict[str, list[str]] = {}
    for name, state in json.loads(done.stdout.splitlines()[-1]):
        states.setdefault(name, []).append(state)
    return states


@pytest.fixture(autouse=True)
def no_server_stays(storage: Path) -> Iterator[None]:
    yield
    for server in servers(storage):
        os.kill(server, signal.SIGTERM)


@pytest.mark.slow
def test_a_killed_climb_continues_with_the_stage_that_was_running(storage: Path) -> None:
    killed = start(storage)
    wait_for_line(killed, "reward-model: started")
    while not list(storage.glob("work/reward-model-*.states/step-*")):
        time.sleep(0.1)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)  # returns once nobody has its pipes any more: the server has ended too
    assert not servers(storage)

    again = start(storage)
    _, said = again.communicate(timeout=300)
    assert again.returncode == 0, said
    assert [line.partition(":")[0] for line in said.splitlines() if line.endswith(": started")] == [
        "reward-model",
        "judge",
        "policy",
    ]
    assert [run.info.status for run in runs(storage, "ladder")] == ["KILLED", "FINISHED"]
    assert [run.info.status for run in runs(storage, "sft")] == ["FINISHED"]
    (run,) = runs(storage, "reward-model")
    assert run.info.status == "FINISHED" and re.fullmatch(r"\S+ after [1-9]\d*", run.data.tags["rlhf.resumed"])
    client = MlflowClient(tracking_uri=f"sqlite:///{storage / 'mlflow.db'}")
    steps = [metric.step for metric in client.get_metric_history(run.info.run_id, "loss_nats")]
    assert steps == list(range(int(client.get_metric_history(run.info.run_id, "loss_nats")[-1].step) + 1))
    assert not list(storage.glob("work/*.states"))
    assert not servers(storage)
    assert flow_runs(storage) == {
        "rlhf-ladder": ["CRASHED", "COMPLETED"],
        "ingest": ["COMPLETED", "COMPLETED"],
        "base": ["COMPLETED", "COMPLETED"],
        "sft": ["COMPLETED", "COMPLETED"],
        "reward-model": ["CRASHED", "COMPLETED"],
        "judge": ["COMPLETED"],
        "policy": ["COMPLETED"],
    }
