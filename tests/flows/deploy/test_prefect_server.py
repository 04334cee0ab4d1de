"""The Prefect server of a climb: there for whoever asks, even before it is ready, and gone with the climb."""

import os
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from urllib.error import URLError

import pytest

from flows.attestation.keys import make_key
from flows.deploy.prefect_server import _end, start_server

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


KILLED = """
import os, signal, sys, time
from pathlib import Path
from flows.deploy.prefect_server import start_server
start_server()
(server,) = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
time.sleep(float(sys.argv[1]))
os.kill(int(server), getattr(signal, sys.argv[2]))
time.sleep(float(sys.argv[3]))
"""


def said_of_a_server_that_ends(tmp_path: Path, after: float, how: str, wait: float) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment |= {"PREFECT_HOME": str(tmp_path / "prefect")}
    command = [sys.executable, "-c", KILLED, str(after), how, str(wait)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stderr


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
def test_a_server_that_is_killed_while_it_starts_is_told_in_a_line(tmp_path: Path, how: str) -> None:
    number = int(getattr(signal, how))
    assert said_of_a_server_that_ends(tmp_path, 0.1, how, 1.0) == (
        f"error: the Prefect server of this run, which belongs to it alone, was killed by signal {number}; "
        "the run cannot go on without it: start it again, and it goes on from what is kept\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("after", [1.0, 2.0, 4.0])
def test_a_server_that_is_ended_while_it_imports_or_opens_its_database_is_told_in_a_line(
    tmp_path: Path, after: float
) -> None:
    said = said_of_a_server_that_ends(tmp_path, after, "SIGTERM", 8.0)
    assert len(said.splitlines()) == 1 and said.startswith("error: the Prefect server of this run, which belongs")


def test_a_server_that_ends_with_its_run_is_not_told(tmp_path: Path) -> None:
    assert said_of_a_server_that_ends(tmp_path, 0.1, "SIGCONT", 0.0) == ""


SIGNER = """
import sys
from flows.deploy.prefect_server import start_server
start_server()
from prefect import flow
from prefect.blocks.system import Secret
from flows.attestation.keys import load_key
from flows.config.errors import InputError
Secret(value=open(sys.argv[1]).read()).save("signing-key")
print(load_key("prefect:signing-key").public_key.keyid)
@flow
def climb():
    return load_key("prefect:signing-key").public_key.keyid
print(climb())
try:
    load_key("prefect:none")
except InputError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_secret_block_holds_the_signing_key(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment |= {"PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_LOGGING_LEVEL": "CRITICAL"}
    keyid = make_key(tmp_path / "key.pem").public_key.keyid
    command = [sys.executable, "-c", SIGNER, tmp_path / "key.pem"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    outside, in_a_flow, missing = done.stdout.splitlines()
    assert (outside, in_a_flow) == (keyid, keyid)
    assert missing.startswith("prefect:none: Prefect has no secret block of this name")


class Hurried(subprocess.Popen[bytes]):
    """A server whose end a person interrupts who has typed Ctrl-C twice."""

    def wait(self, timeout: float | None = None) -> int:
        """As any other until somebody waits for it with patience."""
        if timeout is not None:
            raise KeyboardInterrupt
        return super().wait()


def test_a_second_interrupt_kills_the_server_without_a_word() -> None:
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    server = Hurried(sleep, stdin=subprocess.PIPE)
    _end(server, threading.Event())
    assert server.wait() == -signal.SIGKILL
