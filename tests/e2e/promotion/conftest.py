"""A real MLflow server, a real Prefect server, and receivers between them."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from mlflow import MlflowClient
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, temporary_settings

from tests.conftest import ROOT

FLOW = """
from prefect import flow

@flow(name="rlhf-policy", log_prints=True)
def policy(config: dict, reward_model: str, promoted: bool = False) -> str:
    print(f"policy of {config['project']} with {reward_model}")
    return reward_model
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(found: Callable[[], Any], what: str, seconds: float = 240.0) -> Any:
    """The first true answer; servers that are not there yet count as no answer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if answer := found():
                return answer
        except OSError:
            pass
        time.sleep(0.2)
    return pytest.fail(f"no {what} within {seconds:g} s")


def ask(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=10) as answer:
        return json.load(answer) if "json" in answer.headers["Content-Type"] else answer.read()


@contextmanager
def process(command: list[str], environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as file:
        started = subprocess.Popen(
            command, cwd=ROOT, env=os.environ | environment, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(30)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


@pytest.fixture(scope="package")
def processes() -> Callable[..., Any]:
    return process


class Servers(NamedTuple):
    """Both servers, and a folder that the tests share."""

    mlflow: str
    prefect: str
    folder: Path

    @property
    def registry(self) -> MlflowClient:
        return MlflowClient(tracking_uri=self.mlflow)

    @property
    def environment(self) -> dict[str, str]:
        """What names both servers to a process of ours."""
        return {
            "MLFLOW_TRACKING_URI": self.mlflow,
            "PREFECT_API_URL": f"{self.prefect}/api",
            "PREFECT_HOME": str(self.folder / "prefect"),
        }

    def port(self) -> int:
        """One that is free."""
        return free_port()

    def ask(self, address: str) -> Any:
        """What a page answers."""
        return ask(address)

    @contextmanager
    def orchestrator(self) -> Iterator[SyncPrefectClient]:
        with temporary_settings({PREFECT_API_URL: f"{self.prefect}/api"}), get_client(sync_client=True) as client:
            yield client


@pytest.fixture(scope="package")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("servers")
    mlflow, prefect = free_port(), free_port()
    found = Servers(f"http://127.0.0.1:{mlflow}", f"http://127.0.0.1:{prefect}", folder)
    store = f"sqlite:///{folder / 'mlflow.db'}"
    places = ["--backend-store-uri", store, "--artifacts-destination", str(folder / "artifacts")]
    tracking = ["mlflow", "server", *places, "--port", str(mlflow), "--workers", "1"]
    settings = {
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_CACHE_TTL": "1",
    }
    home = {"PREFECT_HOME": str(folder / "prefect"), "PREFECT_UI_API_URL": f"{found.prefect}/api"}
    orchestration = ["prefect", "server", "start", "--port", str(prefect)]
    with (
        process([sys.executable, "-m", *tracking], settings, folder / "mlflow.log"),
        process([sys.executable, "-m", *orchestration], home, folder / "prefect.log"),
    ):
        wait_for(lambda: ask(f"{found.mlflow}/health"), "MLflow")
        wait_for(lambda: ask(f"{found.prefect}/api/health"), "Prefect")
        (folder / "policy.py").write_text(FLOW)
        yield found


@pytest.fixture(scope="session", name="wait_for")
def given_wait_for() -> Callable[..., Any]:
    return wait_for


class Project(NamedTuple):
    """A project with two reward models whose gates have passed, and its policy deployment with a pool of its own."""

    name: str
    servers: Servers

    @property
    def reward_model(self) -> str:
        return f"{self.name}-reward-model"

    def promote(self, version: int) -> None:
        self.servers.registry.set_registered_model_alias(self.reward_model, "champion", str(version))

    def runs(self) -> list[FlowRun]:
        """Runs of its policy deployment, the oldest first."""
        with self.servers.orchestrator() as client:
            deployment = client.read_deployment_by_name(f"rlhf-policy/{self.name}")
            only = FlowRunFilter.model_validate({"deployment_id": {"any_": [deployment.id]}})
            return sorted(client.read_flow_runs(flow_run_filter=only), key=lambda run: run.created)  # type: ignore[arg-type,return-value]

    def started(self) -> list[str]:
        """What its runs were started with."""
        return [str(run.parameters["reward_model"]).removeprefix(f"{self.reward_model}/") for run in self.runs()]

    def wait_for_starts(self, *versions: str) -> None:
        wait_for(lambda: len(self.started()) >= len(versions), f"start of {versions} in {self.name}")
        assert self.started() == list(versions)


def _project_of(test: str) -> str:
    """A name for a test's project; the browser's is shown to people."""
    return "helpdesk" if "page" in test else f"p{zlib.crc32(test.encode())}"


@pytest.fixture
def project(servers: Servers, request: pytest.FixtureRequest) -> Project:
    from flows.deploy.automations import start_policy_on_promotion

    made = Project(_project_of(request.node.name), servers)
    registry = servers.registry
    registry.create_registered_model(made.reward_model)
    for _ in range(2):
        registry.create_model_version(made.reward_model, "s3://models/none", tags={"gate.status": "passed"})
    with servers.orchestrator() as client:
        client.create_work_pool(WorkPoolCreate(name=made.name, type="process"))
        flow = client.create_flow_from_name("rlhf-policy")
        client.create_deployment(
            flow_id=flow,
            name=made.name,
            work_pool_name=made.name,
            path=str(servers.folder),
            entrypoint="policy.py:policy",
            parameters={"config": {"project": made.name}, "reward_model": f"{made.reward_model}@champion"},
        )
        start_policy_on_promotion(made.name)
    return made


class Receiver(NamedTuple):
    """A running receiver."""

    process: subprocess.Popen[bytes]
    address: str
    folder: Path

    def health(self) -> dict[str, Any]:
        return ask(f"{self.address}/health")  # type: ignore[no-any-return]


@pytest.fixture(scope="package")
def receiving(servers: Servers) -> Callable[..., Any]:
    """Start a receiver on the shared folder, as a person would; `killed` is code that has it killed somewhere."""

    @contextmanager
    def start(*, every: float = 600.0, killed: str = "") -> Iterator[Receiver]:
        port, folder = free_port(), servers.folder / "receiver"
        command = ["receive", "--port", str(port), "--folder", str(folder), "--every", str(every)]
        run = f"{killed}\nimport sys\nfrom flows.cli import main\nsys.argv = ['rlhf', *{command!r}]\nmain()\n"
        log = servers.folder / "receiver.log"
        with process([sys.executable, "-c", run], servers.environment, log) as started:
            receiver = Receiver(started, f"http://127.0.0.1:{port}", folder)
            if not killed:
                wait_for(lambda: receiver.health()["looked"], f"look of the receiver; see {log}")
                assert receiver.health()["problems"] == {}
            yield receiver

    return start
