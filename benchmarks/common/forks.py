"""Processes of `rlhf` that fork from one that has imported all of it, which takes as long as most that they do.

Each has its own arguments, folder, environment, standard streams and exit code, and is really killed by a signal. What
libraries read while they are imported is that of the process that forks, and `Forks.differing` tells it; so tests of
what a fresh interpreter does start one.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

from flows.deploy.environment import DEFAULTS, QUIET

READ_AT_IMPORT = (
    "CUDA",
    "GX_",
    "HF_",
    "HOME",
    "LANG",
    "LC_",
    "LD_",
    "MKL",
    "MPL",
    "OMP",
    "PYTHON",
    "TORCH",
    "TRANSFORM",
    "TZ",
)
"""How names begin of variables that only a process of its own would read anew."""

MODULES = "PYTHONPATH"

READY = "READY_DATABASES"
"""Variable that may name a folder of new databases, which are copied; all that fork share what one of them made."""

ENDED_EARLY = "the process that forks has ended; what it said stands above"


class Fork:
    """A process that was forked.

    Attributes:
        pid: its number.
    """

    def __init__(self, answers: socket.socket) -> None:
        self._answers, self._read = answers, b""
        self.pid = int(self._line(None))

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code; negative for a signal.

        Raises:
            TimeoutError: if it does not end within so many seconds.
        """
        code = int(self._line(timeout))
        self._answers.close()
        return code

    def _line(self, timeout: float | None) -> bytes:
        self._answers.settimeout(timeout)
        while b"\n" not in self._read:
            if not (read := self._answers.recv(64)):
                raise RuntimeError(ENDED_EARLY)
            self._read += read
        line, _, self._read = self._read.partition(b"\n")
        return line


class Forks:
    """A process that has imported all and forks, as a context."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Start it; its imports go on beside what the caller does next.

        Args:
            environment: what libraries read while they are imported.
        """
        self._environment = dict(environment)
        self._folder = tempfile.TemporaryDirectory(prefix="forks-")
        self._orders, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.common.forking", environment.get(READY, self._folder.name)],
                cwd=Path(__file__).parents[2],
                env=self._environment,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End it; forks that still run are killed."""
        self._orders.close()
        self._process.wait()
        self._folder.cleanup()

    def differing(self, environment: Mapping[str, str]) -> list[str]:
        """Variables for which a process with this environment would import otherwise than was imported here.

        Folders of modules more do not count: a fork looks into them too. Nor does what every command sets first.
        """
        mine, theirs = ({**DEFAULTS, **each, **QUIET} for each in (self._environment, environment))
        if set(_modules(mine)) <= set(_modules(theirs)):
            theirs[MODULES] = mine.get(MODULES, "")
        names = {name for name in (*mine, *theirs) if name.startswith(READ_AT_IMPORT)}
        return sorted(name for name in names if mine.get(name, "") != theirs.get(name, ""))

    def start(
        self,
        arguments: Sequence[str | Path],
        *,
        streams: tuple[IO[Any], IO[Any], IO[Any]],
        environment: Mapping[str, str],
        cwd: Path | None = None,
        code: str = "",
        before: Sequence[tuple[str, Mapping[str, Any]]] = (),
    ) -> Fork:
        """Start `rlhf`, or Python on some code.

        Args:
            arguments: of the command.
            streams: standard input, output and error.
            environment: all of it.
            cwd: its working folder; by default that of this process.
            code: what runs instead of `rlhf`, with these arguments.
            before: functions as `module:name`, and what they are called with before that begins.
        """
        order = {
            "arguments": list(map(str, arguments)),
            "environment": dict(environment),
            "cwd": str(cwd or Path.cwd()),
            "code": code,
            "before": list(before),
        }
        mine, theirs = socket.socketpair()
        with theirs:
            numbers = [*(stream.fileno() for stream in streams), theirs.fileno()]
            text = json.dumps(order).encode() + b"\n"
            sent = socket.send_fds(self._orders, [text], numbers)
            self._orders.sendall(text[sent:])
        return Fork(mine)

    def run(
        self,
        arguments: Sequence[str | Path],
        *,
        cwd: Path,
        environment: Mapping[str, str],
        stdin: str = "",
        code: str = "",
        timeout: float = 600.0,
    ) -> subprocess.CompletedProcess[str]:
        """Run `rlhf`, or some code, to its end, as `subprocess.run` would with `text` and `capture_output`.

        Raises:
            TimeoutExpired: if it takes more seconds; it is killed then.
        """
        with (
            tempfile.TemporaryFile("w+") as given,
            tempfile.TemporaryFile("w+") as out,
            tempfile.TemporaryFile("w+") as err,
        ):
            given.write(stdin)
            given.seek(0)
            fork = self.start(arguments, streams=(given, out, err), environment=environment, cwd=cwd, code=code)
            try:
                code = fork.wait(timeout)
            except TimeoutError:
                os.kill(fork.pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(list(map(str, arguments)), timeout) from None
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(["rlhf", *arguments], code, out.read(), err.read())


def _modules(environment: Mapping[str, str]) -> list[str]:
    return [folder for folder in environment.get(MODULES, "").split(os.pathsep) if folder]
