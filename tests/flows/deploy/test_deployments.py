"""Deployments on a real Prefect server, run by a real worker, with alerts that a real address receives."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import PrefectHTTPStatusError

from flows.cli.common import as_typed
from flows.config.errors import InputError
from flows.config.loading import load_config, load_file
from flows.deploy.deployments import deploy, with_tabs
from tests.conftest import ROOT
from tests.forked import run_rlhf

TINY = ROOT / "configs" / "tiny.yaml"
BIN = Path(sys.executable).parent
QUEUES = {
    "rlhf-ladder": "training",
    "rlhf-ingest": "data",
    "rlhf-sft": "training",
    "rlhf-reward-model": "training",
    "rlhf-policy": "training",
    "rlhf-evaluate": "training",
}


def test_the_form_gets_plain_unions_and_nothing_else_changes() -> None:
    union = {"oneOf": [{"$ref": "#/a"}, {"type": "object", "properties": {"discriminator": {"const": "b"}}}]}
    schema = {"properties": {"x": {**union, "discriminator": {"propertyName": "kind"}}, "y": {"enum": [1]}}}
    assert with_tabs(schema) == {"properties": {"x": {"anyOf": union["oneOf"]}, "y": {"enum": [1]}}}


def test_a_climb_knows_nothing_of_how_it_is_deployed() -> None:
    file = load_file(TINY, overrides=["deploy.gpus=2", "deploy.schedules.policy=PT6H"])
    assert file.deploy.gpus == 2 and file.deploy.schedules == {"policy": "PT6H"}
    assert file.climb == load_config(TINY) == load_config(TINY, overrides=["deploy.gpus=2"])
    assert "deploy" not in type(file.climb).model_fields


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("deploy.gpus=0", "field 'deploy.gpus': must be greater than or equal to 1"),
        ("deploy.schedule=PT6H", "field 'deploy.schedule' is unknown; did you mean 'schedules'"),
        ("deploy.schedules.polcy=PT6H", "field 'deploy.schedules.polcy': must be 'ladder', 'ingest'"),
        ("deploy.alerts.webhook=nowhere", "field 'deploy.alerts.webhook'"),
        ("compute.time_outs.policy=0", "field 'compute.time_outs.policy': must be greater than 0"),
    ],
)
def test_mistakes_in_the_section_are_named_by_every_command(override: str, told: str) -> None:
    with pytest.raises(InputError, match=re.escape(told)):
        load_config(TINY, overrides=[override])


def test_the_address_of_the_webhook_is_hidden_from_errors_and_pages() -> None:
    with pytest.raises(InputError, match=r"'deploy.alerts.webhook': is no address; write one") as refused:
        load_file(TINY, overrides=["deploy.alerts.webhook=hooks.example.org/planted"])
    assert "planted" not in str(refused.value)
    file = load_file(TINY, overrides=["deploy.alerts.webhook=https://hooks.example.org/planted"])
    assert "planted" not in f"{file!r} {file.model_dump_json()}"
    assert file.deploy.alerts.webhook is not None
    assert file.deploy.alerts.webhook.get_secret_value() == "https://hooks.example.org/planted"


def test_what_only_deployments_see_is_left_out_of_commands_that_are_shown() -> None:
    typed = as_typed(TINY, ["seed=1", "deploy.alerts.webhook=https://hooks.example.org/planted"])
    assert typed == f"{TINY} --set seed=1"


def test_a_password_that_prefect_would_show_is_refused_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:planted@127.0.0.1:9/mlflow")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with pytest.raises(InputError, match=r"^MLFLOW_TRACKING_URI holds a password, which Prefect would show"):
        deploy(load_file(TINY), arguments="tiny.yaml")


class Server:
    """A Prefect server and the commands that talk to it."""

    def __init__(self, home: Path, address: str) -> None:
        self.home = home
        self.api = f"{address}/api"
        chosen = ("MLFLOW_TRACKING_URI", "PREFECT_LOCAL_STORAGE_PATH", "PREFECT_HOME")
        self.environment = {name: value for name, value in os.environ.items() if name not in chosen}
        self.environment |= {"PREFECT_HOME": str(home), "PREFECT_API_URL": self.api, "COLUMNS": "200"}

    def type(self, *command: str | Path, cwd: Path = ROOT, **changes: str) -> subprocess.CompletedProcess[str]:
        """Type a command."""
        environment = {name: value for name, value in (self.environment | changes).items() if value}
        if command[0] == "rlhf":
            return run_rlhf(*command[1:], environment=environment, cwd=cwd)
        return subprocess.run(
            [BIN / command[0], *command[1:]],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def ask(self, path: str, body: Any = None) -> Any:
        """Ask the API; where its database is busy, Prefect's client asks again."""
        with SyncPrefectClient(self.api) as client:
            return client.request("GET" if body is None else "POST", path, json=body).json()

    def deployment(self, flow: str) -> Any:
        """A deployment of the tiny project."""
        return self.ask(f"/deployments/name/{flow}/tiny")

    def start(self, flow: str, **parameters: Any) -> str:
        """Schedule a run for now, with parts of its configuration replaced."""
        known = self.deployment(flow)
        config = known["parameters"]["config"] | parameters
        body = {"parameters": known["parameters"] | {"config": config}}
        return str(self.ask(f"/deployments/{known['id']}/create_flow_run", body)["id"])

    def work(self, run: str, folder: Path) -> Any:
        """Let a worker look for work once, from a folder of its own, and return the run as it ended."""
        done = self.type("prefect", "worker", "start", "--pool", "rlhf", "--run-once", cwd=folder)
        assert done.returncode == 0, done.stderr
        return self.ask(f"/flow_runs/{run}")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = Server(home, f"http://127.0.0.1:{port}")
    command = [BIN / "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    environment = found.environment | {"PREFECT_API_URL": ""}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 180
        while True:
            try:
                found.ask("/health")
                break
            except httpx.TransportError:
                assert process.poll() is None and time.monotonic() < deadline, (home / "log").read_text()
                time.sleep(0.5)
        yield found
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def heard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An address that keeps what is posted to it."""
    posted: list[dict[str, Any]] = []

    class Keep(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Keep) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listener.server_port}/alerts", posted
        listener.shutdown()


@pytest.fixture(scope="module")
def deployed(
    server: Server, heard: tuple[str, list[dict[str, Any]]], tmp_path_factory: pytest.TempPathFactory
) -> subprocess.CompletedProcess[str]:
    """The tiny project, deployed from a folder with relative paths; a second time without one of its schedules."""
    folder = tmp_path_factory.mktemp("project")
    document = yaml.safe_load(TINY.read_text())
    document["deploy"] = {"schedules": {"ingest": "PT6H"}, "timezone": "Europe/Berlin", "alerts": {"webhook": heard[0]}}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(document))
    for schedule in ("FREQ=WEEKLY;BYDAY=MO", "0 3 * * 1"):
        done = server.type("rlhf", "deploy", "tiny.yaml", "--schedule", schedule, cwd=folder)
        assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_every_flow_is_deployed_with_its_queue_and_one_run_at_a_time_trains(
    deployed: subprocess.CompletedProcess[str], server: Server
) -> None:
    assert {name: server.deployment(name)["work_queue_name"] for name in QUEUES} == QUEUES
    assert all(server.deployment(name)["work_pool_name"] == "rlhf" for name in QUEUES)
    queues = server.ask("/work_pools/rlhf/queues/filter", {})
    limits = {queue["name"]: queue["concurrency_limit"] for queue in queues}
    assert limits["training"] == 1 and limits["data"] is None
    assert "rlhf-ladder/tiny" in deployed.stdout and "0 3 * * 1" in deployed.stdout


@pytest.mark.slow
def test_a_deployment_has_the_schedules_of_the_last_time_and_no_others(
    deployed: subprocess.CompletedProcess[str], server: Server
) -> None:
    found = {name: [item["schedule"] for item in server.deployment(name)["schedules"]] for name in QUEUES}
    (weekly,), (often,) = found.pop("rlhf-ladder"), found.pop("rlhf-ingest")
    assert (weekly["cron"], weekly["timezone"]) == ("0 3 * * 1", "Europe/Berlin")
    assert often["interval"] == 6 * 3600
    assert not any(found.values())


@pytest.mark.slow
def test_nothing_in_a_deployment_depends_on_the_folder_it_was_made_in(
    deployed: subprocess.CompletedProcess[str], server: Server
) -> None:
    found = server.deployment("rlhf-ladder")
    storage = Path(found["parameters"]["config"]["storage"])
    assert storage.is_absolute() and storage.name == ".rlhf"
    assert found["entrypoint"] == "flows.pipeline.ladder.ladder"
    assert found["job_variables"]["env"]["MLFLOW_TRACKING_URI"] == f"sqlite:///{storage / 'mlflow.db'}"
    assert "deploy" not in found["parameters"]["config"]  # an address that receives alerts is nobody else's business


@pytest.mark.slow
def test_a_scheduled_ladder_climbs_as_many_rounds_as_configured(server: Server, tmp_path: Path) -> None:
    settings = ("--set", "project=rounds", "--set", f"storage={tmp_path}", "--set", "deploy.iterate=3")
    done = server.type("rlhf", "deploy", TINY, *settings)
    assert done.returncode == 0, done.stderr
    found = {name: server.ask(f"/deployments/name/{name}/rounds")["parameters"] for name in ("rlhf-ladder", "rlhf-sft")}
    assert found["rlhf-ladder"]["iterate"] == 3 and "iterate" not in found["rlhf-sft"]


@pytest.mark.slow
def test_the_server_refuses_parameters_that_the_configuration_refuses(
    deployed: subprocess.CompletedProcess[str], server: Server
) -> None:
    for wrong in ({"seed": "one"}, {"policy": {"updates": 0}}, {"data": {"kind": "files", "prompts": 3}}, {"sead": 1}):
        with pytest.raises(PrefectHTTPStatusError) as refused:
            server.start("rlhf-ladder", **wrong)
        assert refused.value.response.status_code == 409


@pytest.mark.slow
def test_a_worker_climbs_once_and_then_finds_nothing_to_retrain(
    deployed: subprocess.CompletedProcess[str], server: Server, tmp_path: Path
) -> None:
    first = server.work(server.start("rlhf-ladder"), tmp_path)
    assert first["state"]["name"] == "Completed", first["state"]
    assert first["name"].startswith("tiny ladder, data ") and first["name"].endswith(", tiny-policy/1")
    second = server.work(server.start("rlhf-ladder"), tmp_path)
    assert (second["state"]["type"], second["state"]["name"]) == ("COMPLETED", "NothingToRetrain")
    assert "configuration and code" in second["state"]["message"] and "are those of run" in second["state"]["message"]


@pytest.mark.slow
def test_failed_gates_and_failed_runs_are_posted_to_the_webhook(
    deployed: subprocess.CompletedProcess[str], server: Server, heard: tuple[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    gates = server.deployment("rlhf-sft")["parameters"]["config"]["gates"]
    impossible = {"sft": [gates["sft"][0] | {"threshold": 100.0}]}
    run = server.work(server.start("rlhf-sft", gates=gates | impossible), tmp_path)
    assert run["state"]["type"] == "FAILED" and run["run_count"] == 1
    wait_for(lambda: {item["event"] for item in heard[1]} >= {"rlhf.gate.failed", "prefect.flow-run.Failed"})
    (gate,) = (item for item in heard[1] if item["event"] == "rlhf.gate.failed")
    assert gate["project"] == "tiny" and gate["resource"] == "rlhf.model.tiny-sft"
    assert "is not above 100" in gate["details"]["learned"]
    (failed,) = (item for item in heard[1] if item["event"] == "prefect.flow-run.Failed")
    assert "stopped by gate learned" in failed["message"]


@pytest.mark.slow
def test_data_refused_for_its_quarantine_are_posted_to_the_webhook(
    deployed: subprocess.CompletedProcess[str], server: Server, heard: tuple[str, list[dict[str, Any]]], tmp_path: Path
) -> None:
    asked = [f"question {row} ?" for row in range(60)]
    tables: dict[str, list[dict[str, str]]] = {
        "demonstrations": [{"prompt": text, "completion": "" if text < "question 2" else "yes ."} for text in asked],
        "preferences": [{"prompt": text, "chosen": "yes .", "rejected": "no ."} for text in asked],
        "prompts": [{"prompt": text} for text in asked],
    }
    data: dict[str, Any] = {"kind": "files"}
    for kind, rows in tables.items():
        data[kind] = [{"path": str(tmp_path / f"{kind}.jsonl")}]
        (tmp_path / f"{kind}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "worker").mkdir()
    run = server.work(server.start("rlhf-ingest", data=data, base={"kind": "from_text"}), tmp_path / "worker")
    assert run["state"]["type"] == "FAILED"
    wait_for(lambda: any(item["event"] == "rlhf.quarantine.exceeded" for item in heard[1]))
    (told,) = (item for item in heard[1] if item["event"] == "rlhf.quarantine.exceeded")
    assert "would be quarantined, more than the share of 0.05" in told["details"]["reason"]
    assert "yes ." not in json.dumps(told)


@pytest.mark.slow
def test_what_a_person_paused_stays_paused_and_is_said(server: Server, tmp_path: Path) -> None:
    settings = ("--set", "project=resting", "--set", f"storage={tmp_path}", "--set")
    deploy = ("rlhf", "deploy", TINY, *settings)
    both = "deploy.schedules={ladder: 0 3 * * 1, ingest: PT6H}"
    assert server.type(*deploy, both).returncode == 0
    with SyncPrefectClient(server.api) as client:
        for flow in ("rlhf-ladder", "rlhf-sft"):
            client.pause_deployment(client.read_deployment_by_name(f"{flow}/resting").id)
        ingest = client.read_deployment_by_name("rlhf-ingest/resting")
        client.update_deployment_schedule(ingest.id, ingest.schedules[0].id, active=False)
        queue = client.read_work_queue_by_name("training", work_pool_name="rlhf")
        client.update_work_queue(queue.id, is_paused=True)
    done = server.type(*deploy, both)
    assert done.returncode == 0, done.stderr
    said = {line.split("/")[0] for line in done.stdout.splitlines() if "stays paused, as somebody paused it" in line}
    assert said == {"rlhf-ladder", "rlhf-sft", "rlhf-ingest"}
    found = {flow: server.ask(f"/deployments/name/{flow}/resting") for flow in QUEUES}
    assert {flow for flow, deployment in found.items() if deployment["paused"]} == {"rlhf-ladder", "rlhf-sft"}
    assert [item["active"] for item in found["rlhf-ingest"]["schedules"]] == [False]
    with SyncPrefectClient(server.api) as client:
        assert client.read_work_queue_by_name("training", work_pool_name="rlhf").is_paused
        client.update_work_queue(queue.id, is_paused=False)
        client.update_deployment_schedule(ingest.id, UUID(found["rlhf-ingest"]["schedules"][0]["id"]), active=True)
    assert server.type(*deploy, both).returncode == 0
    again = server.ask("/deployments/name/rlhf-ingest/resting")
    assert [item["active"] for item in again["schedules"]] == [True]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "told"), [("", "PREFECT_API_URL names no"), ("http://127.0.0.1:9/api", "no Prefect")]
)
def test_without_a_server_the_command_says_which_variable_to_set(server: Server, address: str, told: str) -> None:
    done = server.type("rlhf", "deploy", TINY, "--set", f"storage={server.home}", PREFECT_API_URL=address)
    assert done.returncode == 2 and told in done.stderr and "Traceback" not in done.stderr
