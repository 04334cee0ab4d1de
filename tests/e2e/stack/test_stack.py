"""The stack as people run it: real servers that come up, tell their health, survive, and go away whole."""

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.stack.conftest import PORTS, ROOT, Stack, free_ports, processes_of, started_by
from tests.forked import run_rlhf

pytestmark = pytest.mark.slow

PARTS = ("postgres", "prefect", "mlflow", "receiver", "worker")
SCHEDULED = """
import time
from prefect.client.orchestration import get_client

def ended(client):
    runs = [run for run in client.read_flow_runs() if run.auto_scheduled and run.state.is_final()]
    return min(runs, key=lambda run: run.end_time, default=None)

with get_client(sync_client=True) as client:
    while (run := ended(client)) is None:
        time.sleep(1)
    print(run.state.name)
"""


def run_python(code: str, *arguments: str, **environment: str) -> str:
    done = run_rlhf(*arguments, environment=os.environ | environment, code=code)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def wait_until(condition: Callable[[], bool], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.5)


def pids(stack: Stack) -> dict[str, int]:
    return {part: stack.pid(stack.worker if part == "worker" else part) for part in PARTS}


def test_status_asks_every_part_and_says_where_it_is(stack: Stack) -> None:
    done = stack("status")
    assert done.returncode == 0, done.stdout
    for part, port in zip(PARTS, PORTS, strict=True):
        (line,) = [line for line in done.stdout.splitlines() if line.startswith(part)]
        assert line.split()[1] == "ok" and f"127.0.0.1:{stack.settings[port]}" in line
        assert Path(line.split()[-1]).stat().st_size > 0


def test_up_again_changes_nothing(stack: Stack) -> None:
    before = pids(stack)
    files = {name: (stack.folder / name).read_text() for name in ("env", "secrets.json", "supervisord.conf")}
    done = Stack(stack.folder, {})("up")  # settings given once are kept
    assert done.returncode == 0, done.stdout + done.stderr
    assert pids(stack) == before and all(before.values())
    assert {name: (stack.folder / name).read_text() for name in files} == files


def test_what_holds_a_password_is_for_its_owner_only(stack: Stack) -> None:
    hidden = set(json.loads((stack.folder / "secrets.json").read_text()).values())
    assert len(hidden) == 5
    files = [path for path in (*stack.folder.iterdir(), *(stack.folder / "log").iterdir()) if path.is_file()]
    holding = {path.name for path in files if any(secret in path.read_text() for secret in hidden)}
    assert holding == {"env", "secrets.json", "supervisord.conf", "mlflow-auth.ini"}
    assert {stat.S_IMODE((stack.folder / name).stat().st_mode) for name in holding} == {0o600}
    folders = {path.name: stat.S_IMODE(path.stat().st_mode) for path in stack.folder.iterdir() if path.is_dir()}
    assert len(folders) >= 5 and set(folders.values()) == {0o700}, folders
    assert stat.S_IMODE(stack.folder.stat().st_mode) == (0o710 if os.geteuid() == 0 else 0o700)
    assert not [command for command in started_by(stack) if any(secret in command for secret in hidden)]


def test_nothing_listens_beyond_this_machine(stack: Stack) -> None:
    listening = {}
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            _, local, _, state, *_, socket = line.split()[:10]
            if state == "0A":
                listening[f"socket:[{socket}]"] = local.partition(":")[0]
    hosts = []
    for process in processes_of(stack):
        for opened in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                hosts += [listening[name] for name in (os.readlink(opened),) if name in listening]
    assert len(hosts) >= len(PORTS) and set(hosts) == {"0100007F"}  # 127.0.0.1


def test_clients_find_the_stack_unless_told_otherwise(stack: Stack, tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from flows.deploy.environment import prepare; "
        "prepare(Path(sys.argv[1]))\n"
        "print(os.environ['MLFLOW_TRACKING_URI'], os.environ.get('PREFECT_API_URL'))"
    )
    there = {"STACK": str(stack.folder), "MLFLOW_TRACKING_URI": "http://chosen:1"}
    assert run_python(code, str(tmp_path), **there) == f"http://chosen:1 {stack.clients['PREFECT_API_URL']}"


def test_nothing_is_asked_to_phone_home(stack: Stack) -> None:
    for part in ("prefect", "mlflow", stack.worker):
        environment = Path(f"/proc/{stack.pid(part)}/environ").read_text().split("\0")
        assert {"DO_NOT_TRACK=true", "MLFLOW_DISABLE_TELEMETRY=true", "PREFECT_SERVER_ANALYTICS_ENABLED=false"} <= set(
            environment
        )


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"AUTH": "maybe"}, "AUTH"), ({"WORKERS": "0"}, "WORKERS"), ({"MLFLOW_PORT": "http"}, "MLFLOW_PORT")],
)
def test_a_setting_that_makes_no_sense_is_named(tmp_path: Path, settings: dict[str, str], named: str) -> None:
    done = Stack(tmp_path / "stack", settings)("up")
    assert done.returncode == 2 and done.stderr.startswith(f"{named} is ")


def test_a_port_that_somebody_has_is_named_with_its_setting(stack: Stack, tmp_path: Path) -> None:
    ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
    done = Stack(tmp_path / "other", ports | {"MLFLOW_PORT": stack.settings["MLFLOW_PORT"]})("up")
    assert done.returncode == 2
    assert f"port {stack.settings['MLFLOW_PORT']} is taken" in done.stderr and "make up MLFLOW_PORT=" in done.stderr
    assert stack("status").returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another user for PostgreSQL")
def test_a_folder_that_the_user_of_postgres_cannot_enter_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
    done = Stack(tmp_path / "stack", ports)("up")
    assert done.returncode == 2 and f"cannot enter {tmp_path / 'stack'}" in done.stderr


def rlhf(stack: Stack, *arguments: str) -> str:
    done = run_rlhf(*arguments, environment=os.environ | stack.clients)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_schedule_starts_the_ladder_on_the_worker(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in stack.clients.items():
        monkeypatch.setenv(name, value)
    storage = tmp_path / "storage"
    deploy = ("deploy", "configs/tiny.yaml", "--set", f"storage={storage}")
    assert "* * * * *" in rlhf(stack, *deploy, "--schedule", "* * * * *")
    assert run_python(SCHEDULED, **stack.clients) == "Completed"
    assert "* * * * *" not in rlhf(stack, *deploy)
    assert not (storage / "mlflow.db").exists()  # it is all in PostgreSQL

    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=stack.clients["MLFLOW_TRACKING_URI"])
    for name in ("tiny-sft", "tiny-reward-model", "tiny-policy", "tiny-value"):
        version = client.get_model_version_by_alias(name, "challenger")
        assert str(version.version) == "1"
    downloaded = client.download_artifacts(version.run_id, "", str(tmp_path))
    assert any(Path(downloaded).rglob("*"))


def test_deployments_take_the_jobs_of_the_cluster(stack: Stack) -> None:
    """Needs the deployments of the test above."""
    pool = (
        "import json; from pathlib import Path; from prefect.client.orchestration import get_client\n"
        "from prefect.client.schemas.actions import WorkPoolCreate\n"
        "template = json.loads(Path('infra/kubernetes/jobs/base.json').read_text())\n"
        "with get_client(sync_client=True) as client:\n"
        "    made = WorkPoolCreate(name='cluster', type='kubernetes', base_job_template=template)\n"
        "    print(client.create_work_pool(made).type)"
    )
    assert run_python(pool, **stack.clients) == "kubernetes"

    def told(project: str) -> str:
        command = [sys.executable, "infra/job_variables.py", project]
        return subprocess.run(command, cwd=ROOT, env=os.environ | stack.clients, capture_output=True, text=True).stdout

    assert "rlhf-ladder/tiny: rlhf-ladder.json" in told("tiny")
    assert "rlhf-sft/absent: there is no such deployment" in told("absent")
    variables = (
        "from prefect.client.orchestration import get_client\n"
        "with get_client(sync_client=True) as client:\n"
        "    print(client.read_deployment_by_name('rlhf-ladder/tiny').job_variables['gpus'])"
    )
    assert run_python(variables, **stack.clients) == "1"


@pytest.mark.parametrize("part", PARTS)
def test_a_killed_part_comes_back_and_the_others_stay(stack: Stack, part: str) -> None:
    before = pids(stack)
    os.kill(before[part], signal.SIGKILL)
    wait_until(lambda: pids(stack)[part] not in (0, before[part]))
    wait_until(lambda: stack("status").returncode == 0)
    others = {name: process for name, process in pids(stack).items() if name != part}
    assert others == {name: process for name, process in before.items() if name != part}
    read = (
        "from mlflow import MlflowClient; from prefect.client.orchestration import get_client\n"
        "with get_client(sync_client=True) as client: print(client.read_work_pool('rlhf').type)\n"
        "MlflowClient().search_registered_models()"
    )
    assert run_python(read, **stack.clients) == "process"


def test_a_part_that_is_stopped_is_told_and_started_by_up(stack: Stack) -> None:
    os.kill(stack.pid(stack.worker), signal.SIGSTOP)
    done = stack("status")
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("worker")]
    assert "timed out" in line
    os.kill(stack.pid(stack.worker), signal.SIGCONT)
    assert stack("up").returncode == 0


def test_up_after_supervisor_was_killed_starts_all_again_with_the_same_data(stack: Stack) -> None:
    before = pids(stack)
    os.kill(int((stack.folder / "supervisor.pid").read_text()), signal.SIGKILL)
    wait_until(lambda: stack("status").returncode == 1)
    done = stack("up")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not set(pids(stack).values()) & set(before.values())
    registered = "from mlflow import MlflowClient; print(MlflowClient().get_registered_model('tiny-policy').name)"
    assert run_python(registered, **stack.clients) == "tiny-policy"
