"""A stack as `make up` starts it, on ports and in a folder of its own, with authentication on."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from dotenv import dotenv_values

from tests.conftest import ROOT

PORTS = ("POSTGRES_PORT", "PREFECT_PORT", "MLFLOW_PORT", "RECEIVER_PORT", "WORKER_PORT")
MLFLOW, PREFECT = "mlflow.example.org", "prefect.example.org"


@dataclass(frozen=True)
class Stack:
    """A stack's folder and what `up` was told."""

    folder: Path
    settings: dict[str, str]

    def __call__(self, command: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Type `make up`, `make down` or `make status`."""
        environment = os.environ | {"STACK": str(self.folder), "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
        return subprocess.run(
            [sys.executable, "infra/stack.py", command],
            cwd=ROOT,
            env=environment | self.settings | settings,
            capture_output=True,
            text=True,
            timeout=400,
        )

    def pid(self, part: str) -> int:
        """Process of a part, 0 while there is none."""
        supervisorctl = Path(sys.executable).with_name("supervisorctl")
        command = [supervisorctl, "-c", self.folder / "supervisord.conf", "pid", part]
        said = subprocess.run(command, capture_output=True, text=True).stdout.strip()
        return int(said) if said.isdigit() else 0

    @property
    def clients(self) -> dict[str, str]:
        """What the stack tells its clients."""
        return {name: str(value) for name, value in dotenv_values(self.folder / "env").items()}

    @property
    def worker(self) -> str:
        """Name of the worker for supervisor."""
        return f"worker:worker-{self.settings['WORKER_PORT']}"


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def processes_of(stack: Stack) -> list[Path]:
    """Folders in /proc of all processes that the stack has started, by what supervisor puts into their environment."""
    mark = f"SUPERVISOR_SERVER_URL=unix://{stack.folder}/supervisor.sock".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found.append(folder)
    return found


def started_by(stack: Stack) -> list[str]:
    """Their commands."""
    found = []
    for folder in processes_of(stack):
        with suppress(OSError):
            found.append((folder / "cmdline").read_text().replace("\0", " "))
    return found


def check_down(stack: Stack) -> None:
    """End the stack: all that it started ends, and nothing else; what it needs to start again stays."""
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert len(started_by(stack)) >= len(PORTS)
    assert stack("down").returncode == 0
    assert started_by(stack) == []
    assert bystander.poll() is None
    bystander.communicate(b"\n")
    assert stack("status").returncode == 1
    assert not (stack.folder / "env").exists() and (stack.folder / "postgres").exists()
    assert stack("down").returncode == 0


@pytest.fixture(scope="package")
def stack() -> Iterator[Stack]:
    """The running stack that all tests share."""
    folder = Path(tempfile.mkdtemp(prefix="stack-"))
    ports = {name: str(port) for name, port in zip(PORTS, free_ports(len(PORTS)), strict=True)}
    urls = {"MLFLOW_URL": f"https://{MLFLOW}", "PREFECT_URL": f"https://{PREFECT}"}
    made = Stack(folder, {"AUTH": "on", **ports, **urls})
    try:
        done = made("up")
        if "PostgreSQL is not installed" in done.stderr:
            pytest.skip(done.stderr.strip())
        assert done.returncode == 0, done.stdout + done.stderr
        yield made
        check_down(made)
    finally:
        made("down")
        shutil.rmtree(folder)
