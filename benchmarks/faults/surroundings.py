"""What a climb stands on, and what the bench does to it: a mounted disk, an MLflow server of its own."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Self

START_SECONDS = 90.0


class Mount:
    """A file system of its own under a folder, as a context.

    Args:
        folder: made if it is not there.
        megabytes: that it holds.
    """

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        self._megabytes = megabytes
        self._ballast = folder / "ballast"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={self._megabytes}m", "none", self.folder],
            check=True,
            capture_output=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "-l", self.folder], check=False)

    def leave(self, kilobytes: int) -> None:
        """Fill it up to some room."""
        self._ballast.unlink(missing_ok=True)
        room = os.statvfs(self.folder)
        with self._ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(room.f_bavail * room.f_frsize - kilobytes * 1024, 1))

    def empty(self) -> None:
        """Take the filling away."""
        self._ballast.unlink(missing_ok=True)

    def remount(self, how: str) -> None:
        """Make it read-only (`ro`) or not (`rw`)."""
        subprocess.run(["mount", "-o", f"remount,{how}", self.folder], check=True, capture_output=True)


class Server:
    """An MLflow server on the database of a storage, as a context; a thread starts it again some time after its death.

    Args:
        storage: whose `mlflow.db` and `artifacts` it serves.
        away: seconds from its death to its next start; None leaves it dead.
    """

    def __init__(self, storage: Path, away: float | None) -> None:
        self._storage, self._away = storage, away
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.starts = 0
        self._ended = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._minder = threading.Thread(target=self._mind)

    @property
    def uri(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def process_file(self) -> Path:
        """Holds the number of its process, by which an injection ends it."""
        return self._storage.with_name(f"{self._storage.name}.server")

    def __enter__(self) -> Self:
        self._start()
        self._minder.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._minder.join()
        self.stop()

    def stop(self) -> None:
        """End it, and all that it has started."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def again(self) -> None:
        """Start it after it was away for good."""
        self._away = 0.0

    def _mind(self) -> None:
        while not self._ended.wait(0.2):
            if self._process is not None and self._process.poll() is not None and self._away is not None:
                if self._ended.wait(self._away):
                    return
                self._start()

    def _start(self) -> None:
        store = f"sqlite:///{self._storage / 'mlflow.db'}"
        places = ["--backend-store-uri", store, "--artifacts-destination", str(self._storage / "artifacts")]
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self._port), "--workers", "1", *places]
        said = self._storage.with_name(f"{self._storage.name}.server.log").open("ab")
        self._process = subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True)
        self.starts += 1
        self.process_file.write_text(str(self._process.pid))
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            with suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                return
            time.sleep(0.2)
        raise RuntimeError(f"MLflow did not start within {START_SECONDS:g} s; see {said.name}")
