"""The Prefect server of a climb: there for whoever asks, even before it is ready, and gone with the climb."""

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.error import URLError

import pytest

from flows.deploy.prefect_server import start_server

CLIMB = """
import os, sys
from flows.deploy.prefect_server import start_server
start_server()
print(os.environ["PREFECT_API_URL"], flush=True)
from prefect.client.orchestration import get_client
with get_client(sync_client=True) as client:
    print(len(client.read_flows()), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def climb(tmp_path: Path) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment |= {"PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL"}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", CLIMB], env=environment, stdin=pipe, stdout=pipe, text=True)


def ended(climb: subprocess.Popen[str], api: str) -> int:
    """Exit code of a climb, once nobody holds its output any more, which the server does as long as it lives."""
    climb.communicate(timeout=60)
    with pytest.raises(URLError):
        urllib.request.urlopen(f"{api}/health", timeout=5)
    return climb.returncode


@pytest.mark.slow
def test_requests_wait_until_the_server_is_ready_and_it_ends_with_the_climb(climb: subprocess.Popen[str]) -> None:
    assert climb.stdout is not None
    api, flows = climb.stdout.readline().strip(), climb.stdout.readline().strip()
    assert flows == "0"
    assert urllib.request.urlopen(f"{api}/health", timeout=60).read() == b"true"
    assert ended(climb, api) == 0


@pytest.mark.slow
@pytest.mark.parametrize("ready", [True, False], ids=["ready", "starting"])
def test_a_killed_climb_leaves_no_server(climb: subprocess.Popen[str], ready: bool) -> None:
    assert climb.stdout is not None
    api = climb.stdout.readline().strip()
    if ready:
        climb.stdout.readline()
    climb.send_signal(signal.SIGKILL)
    assert ended(climb, api) == -signal.SIGKILL


def test_a_server_that_the_environment_names_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect:4200/api")
    monkeypatch.setattr(sys, "executable", "/nowhere")  # starting one would fail
    start_server()
    assert os.environ["PREFECT_API_URL"] == "http://prefect:4200/api"
