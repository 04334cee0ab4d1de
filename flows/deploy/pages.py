"""`rlhf ui`: the MLflow and Prefect pages on a storage folder."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.config.redaction import redact
from flows.report import Terminal

HOST = "127.0.0.1"

READY_SECONDS = 180.0

GRACE_SECONDS = 10.0


@dataclass(frozen=True)
class Page:
    """A page and the server behind it.

    Attributes:
        command: what serves it; empty where a server that somebody else runs already does.
        health: path that answers once it is ready.
        settings: of its server, beside those of the environment.
    """

    name: str
    address: str
    command: tuple[str, ...] = ()
    health: str = "/health"
    settings: Mapping[str, str] = field(default_factory=dict)


def serve_pages(config: LadderConfig, *, mlflow_port: int, prefect_port: int) -> None:
    """Serve both pages until interrupted; servers that the environment names are only pointed at.

    Args:
        config: whose storage is shown.
        mlflow_port: where the MLflow page is wanted; another port is taken if it is in use.
        prefect_port: the same for the Prefect page.

    Raises:
        InputError: if nothing has been climbed in this storage, or a server does not start.
    """
    console = Terminal(highlight=False)
    pages = [_mlflow_page(config.storage, mlflow_port), _prefect_page(prefect_port)]
    signal.signal(signal.SIGTERM, _interrupt)
    with contextlib.suppress(KeyboardInterrupt), contextlib.ExitStack() as stack:
        running = [(page, stack.enter_context(_serving(page, config.storage))) for page in pages if page.command]
        for page, server in running:
            _wait_until_ready(page, server, config.storage)
        for page in pages:
            console.print(f"{page.name:8} {redact(page.address)}")
        console.print("Ctrl-C stops both" if running else "both run elsewhere")
        while running and all(server.poll() is None for _, server in running):
            time.sleep(0.5)
        for page, server in running:
            if server.poll() is not None:
                raise InputError(f"{page.name} ended with code {server.returncode}; see {_log(page, config.storage)}")


def free_port(wanted: int) -> int:
    """The wanted port, or any free one if it is in use."""
    for port in (wanted, 0):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise InputError(f"no port is free on {HOST}")


def _mlflow_page(storage: Path, wanted: int) -> Page:
    uri = os.environ["MLFLOW_TRACKING_URI"]
    if not uri.startswith("sqlite:///"):
        return Page("MLflow", uri)
    if not Path(uri.removeprefix("sqlite:///")).exists():
        raise InputError(f"there is nothing in {storage} yet; climb first with `rlhf run`")
    port = free_port(wanted)
    command = ("mlflow", "server", "--backend-store-uri", uri, "--host", HOST, "--port", str(port), "--workers", "1")
    return Page("MLflow", f"http://{HOST}:{port}", (sys.executable, "-m", *command))


def _prefect_page(wanted: int) -> Page:
    api = os.environ.get("PREFECT_API_URL")
    if api:
        return Page("Prefect", api.removesuffix("/api"))
    port = free_port(wanted)
    command = ("prefect", "server", "start", "--host", HOST, "--port", str(port))
    address = f"http://{HOST}:{port}"
    settings = {"PREFECT_UI_API_URL": f"{address}/api"}  # the page would call the default port
    return Page("Prefect", address, (sys.executable, "-m", *command), health="/api/health", settings=settings)


@contextlib.contextmanager
def _serving(page: Page, storage: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server and whatever it starts in a process group of its own, and end the whole group."""
    with _log(page, storage).open("wb") as log:
        server = subprocess.Popen(
            page.command, env={**os.environ, **page.settings}, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield server
        finally:
            _end(server)


def _end(server: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(GRACE_SECONDS)


def _wait_until_ready(page: Page, server: subprocess.Popen[bytes], storage: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        with (
            contextlib.suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(page.address + page.health, timeout=5),  # noqa: S310 (our own server)
        ):
            return
        time.sleep(0.3)
    raise InputError(f"{page.name} did not start; see {_log(page, storage)}")


def _log(page: Page, storage: Path) -> Path:
    return storage / f"{page.name.lower()}-page.log"


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt
