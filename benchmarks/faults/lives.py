"""Lives of a climb: each runs until it ends, or is ended by a signal at a moment that is told in its own CPU time."""

import os
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from benchmarks.common.forks import Fork, Forks
from benchmarks.faults.injections import inject
from flows.stages.journal import JOURNAL

MARKS = {
    "ingest": "climbing ",
    "base": "base: started",
    "sft": "sft: started",
    "reward-model": "reward-model: started",
    "judge": "judge: started",
    "policy": "policy: started",
}
"""What a climb says when it comes to a stage."""

TICKS = os.sysconf("SC_CLK_TCK")
POLL_SECONDS = 0.02
LIMIT_SECONDS = 1800.0


class Life(NamedTuple):
    """A climb that has ended.

    Attributes:
        code: its exit code; negative for a signal.
        said: all that it printed.
        stage: the last one that it came to.
        spent: CPU seconds from one mark to the next, by stage.
        seconds: wall time.
    """

    code: int
    said: str
    stage: str
    spent: Mapping[str, float]
    seconds: float

    @property
    def traceback(self) -> bool:
        """Whether a person was shown a traceback."""
        return "Traceback (most recent call last)" in self.said

    @property
    def last_line(self) -> str:
        """The last thing that it said in words."""
        lines = [line.strip() for line in self.said.splitlines() if line.strip()]
        return next((line for line in reversed(lines) if line.startswith("error")), lines[-1] if lines else "")


class Moment(NamedTuple):
    """When a signal is sent: after so many CPU seconds in a stage, and as many of its steps."""

    stage: str
    seconds: float
    number: signal.Signals = signal.SIGKILL
    steps: int = 0


class Lives:
    """Starts climbs in a storage folder, as a context.

    Args:
        storage: the folder.
        environment: what is in the environment of its climbs besides; its own database is MLflow's by default.
    """

    def __init__(self, storage: Path, environment: Mapping[str, str]) -> None:
        self.storage = storage
        handle, said = tempfile.mkstemp(prefix=f"{storage.name}-", suffix=".said", dir=storage.parent)
        os.close(handle)
        self._said = Path(said)
        self._size, self._reached = 0, ""
        places = {
            "PREFECT_LOCAL_STORAGE_PATH": str(storage / "results"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{storage / 'mlflow.db'}",
        }
        self._environment = {**os.environ, **places, **environment}
        self._forks = Forks(self._environment)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._forks.__exit__(*error)

    def live(self, *arguments: str, injections: Sequence[Mapping[str, Any]] = (), moment: Moment | None = None) -> Life:
        """Run `rlhf` until it ends.

        Args:
            arguments: of the command.
            injections: arguments of `injections.inject`.
            moment: of a signal from outside; none comes if the climb ends before.
        """
        climb, began = self._start(arguments, injections), time.monotonic()
        process = climb.pid
        spent: dict[str, float] = {}
        stage, since, sent = "", 0.0, False
        while (now := _cpu_seconds(process)) is not None:
            if time.monotonic() - began > LIMIT_SECONDS:
                os.kill(process, signal.SIGKILL)
            reached = self._stage()
            if reached != stage:
                stage, since = reached, now
            spent[stage] = now - since
            if moment and not sent and self._is_due(moment, stage, now - since):
                os.kill(process, moment.number)
                sent = True
            time.sleep(POLL_SECONDS)
        return Life(climb.wait(), self._said.read_text("utf-8", "replace"), self._stage(), spent,
                    time.monotonic() - began)  # fmt: skip

    def _start(self, arguments: Sequence[str], injections: Sequence[Mapping[str, Any]]) -> Fork:
        self._size, self._reached = 0, ""
        before = [(f"{inject.__module__}:{inject.__name__}", injection) for injection in injections]
        with self._said.open("w") as said, Path(os.devnull).open() as nothing:
            streams = (nothing, said, said)
            return self._forks.start(arguments, streams=streams, environment=self._environment, before=before)

    def _is_due(self, moment: Moment, stage: str, seconds: float) -> bool:
        order = ["", *MARKS]
        if stage != moment.stage:
            return order.index(stage) > order.index(moment.stage)
        journals = self.storage.glob(f"work/{stage}-*.states/{JOURNAL}")
        done = max((journal.read_bytes().count(b"\n") for journal in journals), default=0) if moment.steps else 0
        return seconds >= moment.seconds and done >= moment.steps

    def _stage(self) -> str:
        if (size := self._said.stat().st_size) != self._size:
            said, self._size = self._said.read_text("utf-8", "replace"), size
            self._reached = next((stage for stage in reversed(MARKS) if MARKS[stage] in said), "")
        return self._reached


def _cpu_seconds(process: int) -> float | None:
    """CPU time of a process; None once it has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else (int(fields[11]) + int(fields[12])) / TICKS
