"""What a fork of `benchmarks.common.forking` does otherwise than `rlhf`, as it has imported Prefect already.

Prefect's settings are read once they are asked for, as its import would; its server is a fork too; and new databases
are copies.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import IO, Any

from prefect import context

from benchmarks.common.ready_databases import copy_database, copy_migrations, make_prefect_database
from flows.deploy import prefect_api, prefect_server
from flows.registry import database

POLL_SECONDS = 0.02


def read_settings() -> None:
    """Read Prefect's settings from the environment, as its import does."""
    vars(context).pop("GLOBAL_SETTINGS_CONTEXT", None)
    context.GLOBAL_SETTINGS_CONTEXT = context.root_settings_context()


class LaterSettings:
    """Stands for Prefect's settings until one is asked for: then the environment is read."""

    def __getattr__(self, name: str) -> Any:
        read_settings()
        return getattr(context.GLOBAL_SETTINGS_CONTEXT, name)


class ForkedServer:
    """A server's process, as far as who starts it asks.

    Attributes:
        stdin: with whose end it ends.
    """

    def __init__(self, process: int, stdin: IO[bytes]) -> None:
        self.stdin, self._process, self._code = stdin, process, None
        self._lock = threading.Lock()

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code.

        Raises:
            TimeoutExpired: if it does not end within so many seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self._poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("prefect", timeout or 0.0)
            time.sleep(POLL_SECONDS)
        return code

    def kill(self) -> None:
        """End it at once."""
        os.kill(self._process, signal.SIGKILL)

    def _poll(self) -> int | None:
        with self._lock:
            if self._code is None:
                ended, status = os.waitpid(self._process, os.WNOHANG)
                self._code = os.waitstatus_to_exitcode(status) if ended else None
            return self._code


def prepare(templates: Path) -> None:
    """Have this process do so.

    Args:
        templates: folder of the databases that are copied.
    """
    context.GLOBAL_SETTINGS_CONTEXT = LaterSettings()
    database._migrate = copy_migrations(templates)

    def launch(listener: socket.socket, words: IO[bytes]) -> ForkedServer:
        read, write = os.pipe()
        if process := os.fork():
            os.close(read)
            return ForkedServer(process, os.fdopen(write, "wb"))
        try:
            os.setsid()
            os.dup2(read, 0)
            os.dup2(words.fileno(), 2)
            os.closerange(3, listener.fileno())
            os.closerange(listener.fileno() + 1, 1024)
            _serve(templates, listener.fileno())
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)

    prefect_server.launch_api = launch


def _serve(templates: Path, listener: int) -> None:
    os.environ.update(prefect_server.API_SETTINGS | os.environ)
    home = Path(os.environ["PREFECT_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    if not (home / "prefect.db").exists():
        copy_database(templates / "prefect.db", home / "prefect.db", make_prefect_database)
    read_settings()
    sys.argv = [prefect_api.__file__, str(listener)]
    prefect_api.main()
