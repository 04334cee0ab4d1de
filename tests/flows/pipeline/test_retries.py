"""What is tried again: a real MLflow server that is away for a while is; a failed gate and bad input are not."""

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import requests
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    REQUEST_LIMIT_EXCEEDED,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
)
from prefect import flow
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.task_engine import TaskRunTimeoutError

from flows.config.errors import InputError
from flows.config.gates import GatesConfig
from flows.pipeline.against_champion import AgainstChampion
from flows.pipeline.gating import StoppedByGate, enforce, judge_figures, mark_versions
from flows.registry.client import open_registry
from flows.registry.context import RunContext
from flows.registry.references import StageRecord
from flows.tasks import RETRIES, is_infrastructure, retried_task, retry_infrastructure
from rlhf_core.gates.gate import Gate, judge
from rlhf_core.metrics.estimates import Estimate

GATE = Gate(name="big", metric="size", direction="above", threshold=1.0, min_samples=1, failure="small", reason="test")


def answer(status: int) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "http://nowhere")
    return httpx.HTTPStatusError("no", request=request, response=httpx.Response(status, request=request))


@pytest.mark.parametrize(
    "error",
    [
        MlflowException("down", TEMPORARILY_UNAVAILABLE),
        MlflowException("API request failed with exception refused", INTERNAL_ERROR),
        MlflowException("slow down", REQUEST_LIMIT_EXCEEDED),
        httpx.ConnectError("refused"),
        answer(503),
        requests.ConnectionError(),
        requests.Timeout(),
        ConnectionResetError(),
        TimeoutError(),
        OSError(errno.EIO, "input/output error"),
    ],
    ids=repr,
)
def test_what_servers_and_disks_fail_at_is_tried_again(error: Exception) -> None:
    assert is_infrastructure(error)


@pytest.mark.parametrize(
    "error",
    [
        InputError("row 3: empty"),
        StoppedByGate("sft", judge([GATE], {})),
        TaskRunTimeoutError(),
        MlflowException("unknown version", RESOURCE_DOES_NOT_EXIST),
        MlflowException("no such parameter", INVALID_PARAMETER_VALUE),
        answer(404),
        FileNotFoundError(errno.ENOENT, "no such file"),
        OSError(errno.ENOSPC, "no space"),
        ValueError("shapes differ"),
        MemoryError(),
    ],
    ids=repr,
)
def test_results_mistakes_and_time_outs_are_not(error: Exception) -> None:
    assert not is_infrastructure(error)


def test_a_retried_task_waits_longer_each_time_and_asks_what_failed() -> None:
    work = retried_task("work", cache_policy=NO_CACHE)(lambda: None)
    assert (work.name, work.retries, work.cache_policy) == ("work", RETRIES, NO_CACHE)
    assert work.retry_delay_seconds == [2, 4, 8, 16, 32, 64, 128]
    assert work.retry_condition_fn is retry_infrastructure


@pytest.fixture
def mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts an MLflow server, at the same address and on the same database each time."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}"]
    command += ["--artifacts-destination", str(tmp_path / "artifacts")]
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        log = (tmp_path / "server.log").open("ab")
        started.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5)
            except OSError:
                assert time.monotonic() < deadline, (tmp_path / "server.log").read_text()
                time.sleep(0.3)
            else:
                return started[-1]

    yield start
    for server in started:
        stop(server)


def stop(server: subprocess.Popen[bytes]) -> None:
    """End a server with its workers."""
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


@pytest.mark.slow
def test_verdicts_reach_a_server_that_was_away_and_a_failed_gate_is_judged_once(
    mlflow: Callable[[], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    server = mlflow()
    registry = open_registry("toy", tmp_path)
    run_id = registry.start_run("ladder")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    ref = registry.register(tmp_path / "model", "toy-sft", run_id=run_id, parents={}, tags={}, description="A toy.")
    small = {"size": Estimate(0.5, 0.4, 0.6, 100)}
    record = StageRecord(stage="sft", key="k", ladder_run=run_id, run_id=run_id, models={"sft": ref}, estimates=small)
    context = RunContext(project="toy", seed=0, storage=tmp_path, threads=None, run_id=run_id)

    back = threading.Timer(3.0, mlflow)

    @flow
    def judged() -> None:
        stop(server)
        back.start()
        judgement = judge_figures(record, [GATE], AgainstChampion(), GatesConfig(), context)
        mark_versions(record, judgement, context)
        enforce("sft", judgement.blocking, GatesConfig())

    state = judged(return_state=True)
    back.join()
    assert state.is_failed() and "stopped by gate big" in str(state.message)
    assert registry.client.get_model_version("toy-sft", ref.version).tags["gate.status"] == "failed"
    with get_client(sync_client=True) as client:
        (run,) = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
        )
        tasks = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])))
    assert run.run_count == 1
    counts = {task.name.partition("-")[0]: task.run_count for task in tasks}
    assert counts["publish"] == counts["mark"] == 1  # MLflow's client has waited
    assert all(task.state is not None and task.state.is_completed() for task in tasks)
