"""A year without servers: climbs are processes of this machine, forked from one that has imported all."""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.common.forks import Fork, Forks
from benchmarks.year.ground import Climbed, Ending, Ground, Said, cpu_seconds, is_training
from flows.deploy.environment import QUIET, quiet
from flows.deploy.prefect_server import start_server

POLL_SECONDS = 0.1
ENDINGS: Mapping[int, Ending] = {0: "done", 2: "refused", 3: "gate"}
"""By exit code of `rlhf run`; any other is a crash."""


class Running(NamedTuple):
    """A command on its way, and the file for what it says."""

    fork: Fork
    said: Path


class Alone:
    """The local registry of a folder.

    Args:
        folder: of the year.
    """

    has_stack = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._climbing: list[int] = []

    def begin(self) -> None:
        """Start what forks the commands, and the server of Prefect that they share."""
        storage = self.folder / "storage"
        storage.mkdir(parents=True, exist_ok=True)
        os.environ |= {**QUIET, "PREFECT_HOME": str(self.folder / "prefect"), "OMP_NUM_THREADS": "1"}
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{storage / 'mlflow.db'}"
        os.environ["PREFECT_LOCAL_STORAGE_PATH"] = str(storage / "results")
        quiet()
        start_server()
        self._forks = Forks(os.environ)

    def end(self) -> list[str]:
        """End what forks the commands; each of these was waited for, so that none is left."""
        self._forks.__exit__()
        return []

    def climb(self, name: str, settings: Mapping[str, object], disturb: Callable[[Ground], None] | None) -> Climbed:
        """Run the ladder once, as `Ground.climb` says."""
        del name
        given = [part for field, value in settings.items() for part in ("--set", f"{field}={json.dumps(value)}")]
        before, started = time.time(), time.monotonic()
        running = self._start(["run", str(self.folder / "ladder.yaml"), *given], "climb")
        self._climbing, spent = [running.fork.pid], 0.0
        while (now := cpu_seconds(running.fork.pid)) is not None:
            spent = now
            if disturb and is_training(self.folder / "storage", before):
                disturb(self)
                disturb = None
            time.sleep(POLL_SECONDS)
        code, self._climbing, said = running.fork.wait(), [], running.said.read_text("utf-8", "replace")
        ending: Ending = "nothing new" if code == 0 and "nothing to retrain" in said else ENDINGS.get(code, "crashed")
        return Climbed(ending, said[-3000:], time.monotonic() - started, spent)

    def settle(self, reward_model: str) -> None:
        """Nothing: without servers no promotion starts a run."""

    def unfinished(self) -> list[str]:
        """None: the server that knows flow runs ends with this process."""
        return []

    def rlhf(self, *arguments: str) -> Said:
        """Fork a command, and wait for it."""
        return self.at_once([arguments])[0]

    def at_once(self, commands: Sequence[Sequence[str]]) -> list[Said]:
        """Fork commands at the same moment."""
        started = [self._start(command, f"command-{number}") for number, command in enumerate(commands)]
        return [_ended(running) for running in started]

    def climbing(self) -> list[int]:
        """The climb that goes on."""
        return self._climbing

    def supervise(self, action: str, part: str) -> None:
        """Refuse.

        Raises:
            LookupError: always, as there is no stack.
        """
        raise LookupError(f"there is no stack here to {action} {part} of")

    def reboot(self) -> None:
        """Refuse, as `supervise` does."""
        self.supervise("restart", "all")

    def _start(self, arguments: Sequence[str], name: str) -> Running:
        path = self.folder / f"{name}.said"
        with path.open("w") as said, Path(os.devnull).open() as nothing:
            streams = (nothing, said, said)
            return Running(self._forks.start(arguments, streams=streams, environment=os.environ), path)


def _ended(running: Running) -> Said:
    spent = 0.0
    while (now := cpu_seconds(running.fork.pid)) is not None:
        spent = now
        time.sleep(POLL_SECONDS)
    return Said(running.fork.wait(), running.said.read_text("utf-8", "replace"), spent)
