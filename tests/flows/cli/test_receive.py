"""`rlhf receive` before it serves: where it listens, who may enter its folder; and tracebacks of any command."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app

Receive = Callable[..., tuple[Result, dict[str, Any]]]


@pytest.fixture
def receive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Receive:
    """Type the command; what it would serve."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr("flows.deploy.environment.quiet", lambda: None)
    monkeypatch.setattr("flows.deploy.environment.prepare", lambda folder: None)
    served: dict[str, Any] = {}
    monkeypatch.setattr("flows.promotion.receiver.serve", lambda folder, **given: served.update(given, folder=folder))

    def command(*arguments: str) -> tuple[Result, dict[str, Any]]:
        done = CliRunner().invoke(app, ["receive", "--folder", str(tmp_path / "receiver"), *arguments])
        return done, served

    return command


@pytest.mark.parametrize("host", ["", "127.0.0.1", "localhost", "::1"])
def test_it_listens_on_this_machine_only_unless_told_otherwise(receive: Receive, host: str) -> None:
    done, served = receive(*(("--host", host) if host else ()))
    assert done.exit_code == 0 and served["host"] == (host or "127.0.0.1") and "warning" not in done.output


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.5", "::"])
def test_it_warns_where_others_reach_it(receive: Receive, host: str) -> None:
    done, served = receive("--host", host, "--port", "6000")
    assert done.exit_code == 0 and served["host"] == host
    assert f"warning: listening on {host}: whoever reaches port 6000 can read /health" in done.output


def test_a_password_that_all_processes_would_see_is_refused(receive: Receive) -> None:
    done, served = receive("--address", "http://me:planted-word@host:5050")
    assert done.exit_code == 2 and not served
    assert "--address holds a password" in done.output and "planted-word" not in done.output


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_its_folder_is_for_its_owner_only(receive: Receive, tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        done, served = receive()
    finally:
        os.umask(before)
    assert done.exit_code == 0 and served["folder"] == tmp_path / "receiver"
    assert served["folder"].stat().st_mode & 0o777 == 0o700


def test_a_traceback_quotes_no_password() -> None:
    code = (
        "from flows.cli.common import quietly\n"
        "with quietly():\n"
        "    raise RuntimeError('no answer of http://me:planted-word@host, token planted-token')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"HF_TOKEN": "planted-token"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "RuntimeError: no answer of http://***@host, token ***" in done.stderr
    assert done.stderr.startswith("Traceback") and "planted" not in done.stderr.splitlines()[-1]


INTERRUPTED = """
import sys, time
from flows.cli import common
common.ENDING_SECONDS = 1
with common.quietly():
    try:
        print("here", flush=True)
        time.sleep(60)
    finally:
        print("ending", flush=True)
        time.sleep(float(sys.argv[1]))
"""


@pytest.mark.parametrize(
    ("times", "takes", "how"),
    [(1, 0.1, signal.SIGINT), (2, 60, signal.SIGINT), (1, 60, signal.SIGALRM)],
    ids=["in order", "twice", "never"],
)
def test_ctrl_c_ends_in_good_order_within_a_while_and_another_one_at_once(
    times: int, takes: float, how: signal.Signals
) -> None:
    start = partial(subprocess.Popen, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    restored = partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # which jobs in the background ignore
    with start([sys.executable, "-c", INTERRUPTED, str(takes)], preexec_fn=restored) as climb:
        for line in ["here", "ending"][:times]:
            assert climb.stdout.readline().strip() == line
            climb.send_signal(signal.SIGINT)
        said = climb.stderr.read()
    assert climb.returncode == -how and ("Traceback" in said) == (takes < 1)
