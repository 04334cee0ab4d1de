"""The servers that a climb stands on: MLflow, Prefect and PostgreSQL, each killed by the bench and started again."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

START_SECONDS = 120.0

POSTGRES_PROGRAMS = "/usr/lib/postgresql/*/bin"

ROLE = "ladder"


class Server:
    """A server as a context; a thread starts it again some time after its death.

    Args:
        name: of the file beside the storage that holds the number of its process, and of that with what it said.
        command: starts it.
        uri: its address.
        answers: whether it serves.
        away: seconds from its death to its next start; None leaves it dead.
        options: further ones of `subprocess.Popen`.
    """

    def __init__(
        self,
        name: Path,
        command: Sequence[str],
        uri: str,
        *,
        answers: Callable[[], bool],
        away: float | None,
        **options: Any,
    ) -> None:
        self.process_file = name.with_suffix(".server")
        self.starts = 0
        self.uri = uri
        self._said = name.with_suffix(".server.log")
        self._command, self._answers, self._away, self._options = command, answers, away, options
        self._ended = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._minder = threading.Thread(target=self._mind)

    def __enter__(self) -> Self:
        self._start()
        self._minder.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._minder.join()
        self._stop()

    def again(self) -> None:
        """Start it after it was away for good, and wait until it serves."""
        self._away = 0.0
        self._wait(self.starts + 1)

    def _stop(self) -> None:
        """End it, and all that it has started."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _mind(self) -> None:
        while not self._ended.wait(0.2):
            if self._process is not None and self._process.poll() is not None and self._away is not None:
                if self._ended.wait(self._away):
                    return
                self._start()

    def _start(self) -> None:
        with self._said.open("ab") as said:
            self._process = subprocess.Popen(
                self._command, stdout=said, stderr=said, start_new_session=True, **self._options
            )
        self.process_file.write_text(str(self._process.pid))
        self._wait(self.starts)
        self.starts += 1

    def _wait(self, starts: int) -> None:
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            if self.starts >= starts and self._answers():
                return
            time.sleep(0.2)
        raise RuntimeError(f"a server did not start within {START_SECONDS:g} s; see {self._said}")


def mlflow_server(storage: Path, away: float | None, backend: str = "") -> Server:
    """An MLflow server on the artifacts of a storage, and on its database unless another one is named."""
    port = _free_port()
    places = ["--backend-store-uri", backend or f"sqlite:///{storage / 'mlflow.db'}"]
    places += ["--artifacts-destination", str(storage / "artifacts")]
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1", *places]
    uri = f"http://127.0.0.1:{port}"
    return Server(_beside(storage, "mlflow"), command, uri, answers=lambda: _is_page(f"{uri}/health"), away=away)


def prefect_server(storage: Path, away: float | None) -> Server:
    """A Prefect server whose database lies beside a storage."""
    port, home = _free_port(), _beside(storage, "prefect")
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    uri = f"http://127.0.0.1:{port}/api"
    environment = {**os.environ, "PREFECT_HOME": str(home), "PREFECT_API_URL": uri}
    return Server(home, command, uri, answers=lambda: _is_page(f"{uri}/health"), away=away, env=environment)


@contextmanager
def postgres_server(storage: Path, away: float | None) -> Iterator[Server]:
    """A PostgreSQL with an empty database for MLflow, whose address is that of the server.

    Raises:
        FileNotFoundError: if its programs are not on this machine.
    """
    programs, user = _programs(), _user()
    data = Path(tempfile.mkdtemp(prefix="faults-postgres-"))  # which its user can enter, wherever the storage is
    shutil.chown(data, user)
    other: dict[str, Any] = {"cwd": "/"}
    if os.geteuid() == 0:
        other |= {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
    made = ["-D", str(data), "-U", ROLE, "-A", "trust", "-E", "UTF8", "--no-locale"]
    subprocess.run([str(programs / "initdb"), *made], check=True, capture_output=True, **other)
    single = [str(programs / "postgres"), "--single", "-D", str(data), "postgres"]
    subprocess.run(single, input=b"CREATE DATABASE mlflow", check=True, capture_output=True, **other)
    port = _free_port()
    command = [str(programs / "postgres"), "-D", str(data), "-p", str(port), "-k", "", "-h", "127.0.0.1"]
    ready = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    uri = f"postgresql+psycopg2://{ROLE}@127.0.0.1:{port}/mlflow"
    name = _beside(storage, "postgres")
    try:
        with Server(name, command, uri, answers=lambda: not subprocess.call(ready), away=away, **other) as server:
            yield server
    finally:
        shutil.rmtree(data)


def _programs() -> Path:
    if initdb := shutil.which("initdb"):
        return Path(initdb).resolve().parent
    found = sorted(Path("/").glob(f"{POSTGRES_PROGRAMS[1:]}/initdb"))
    if not found:
        raise FileNotFoundError("PostgreSQL's initdb")
    return found[-1].parent


def _user() -> str:
    """Who runs PostgreSQL, which refuses to run as root."""
    return "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


def _is_page(address: str) -> bool:
    with suppress(OSError):
        urllib.request.urlopen(address, timeout=1).close()
        return True
    return False


def _beside(storage: Path, what: str) -> Path:
    return storage.with_name(f"{storage.name}-{what}")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
