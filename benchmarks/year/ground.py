"""Where a year takes place: what starts climbs, tells of their end, and can be disturbed while they go on."""

import contextlib
import os
import resource
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

Ending = Literal["done", "nothing new", "gate", "refused", "crashed"]
"""Of a climb: with new versions, without, stopped by a gate, by its data or configuration, or by anything else."""

NEARLY_FULL_BYTES = 1 << 16
"""Size that no file of a process may pass while its disk is as good as full."""
TICKS = os.sysconf("SC_CLK_TCK")


class Climbed(NamedTuple):
    """A climb that has ended.

    Attributes:
        ending: how.
        said: its last words.
        seconds: of wall time.
        cpu_seconds: as far as they were seen.
    """

    ending: Ending
    said: str
    seconds: float
    cpu_seconds: float


class Said(NamedTuple):
    """A command that has ended: exit code, all that it printed, and CPU seconds with those of its children."""

    code: int
    text: str
    cpu_seconds: float


class Ground(Protocol):
    """Servers, or none, around the folder of a year; only with a stack can its parts be disturbed."""

    folder: Path
    has_stack: bool

    def begin(self) -> None:
        """Bring up what is not up, and name it to this process by its environment."""

    def end(self) -> list[str]:
        """End all of it; returns what is left of it nevertheless."""

    def climb(self, name: str, settings: Mapping[str, object], disturb: "Callable[[Ground], None] | None") -> Climbed:
        """Climb the ladder once.

        Args:
            name: of this try; the same one after this machine was restarted.
            settings: fields of the configuration, dotted, that are others than usual.
            disturb: what happens once a stage trains.
        """

    def settle(self, reward_model: str) -> None:
        """Wait until a policy run of the reward model that is champion, and all others, have ended."""

    def unfinished(self) -> list[str]:
        """Flow runs that say that they are going on."""

    def rlhf(self, *arguments: str) -> Said:
        """Type a command as a person would, and wait for it."""

    def at_once(self, commands: Sequence[Sequence[str]]) -> list[Said]:
        """Type two commands at the same moment."""

    def climbing(self) -> list[int]:
        """Processes of the climb that goes on."""

    def supervise(self, action: str, part: str) -> None:
        """Have a part of the stack stopped, started or restarted."""

    def reboot(self) -> None:
        """Kill everything at once, as a power failure does, and bring it up again."""


def is_training(storage: Path, since: float) -> bool:
    """Whether a stage has kept an event of its training since a moment.

    Args:
        storage: folder of the climb.
        since: in seconds since the epoch.
    """
    for journal in storage.glob("work/*.states/events.jsonl"):
        with contextlib.suppress(OSError):
            if journal.stat().st_mtime > since and journal.stat().st_size:
                return True
    return False


def cpu_seconds(process: int) -> float | None:
    """CPU time of a process and of its children that have ended; None once it is gone."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else sum(map(int, fields[11:15])) / TICKS


def kill(processes: Sequence[int]) -> None:
    """End processes at once."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def fill_disk(processes: Sequence[int], seconds: float) -> None:
    """Let no file of some processes grow for a while, as where a disk is full."""
    for size in (NEARLY_FULL_BYTES, resource.RLIM_INFINITY):
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(process, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        if size == NEARLY_FULL_BYTES:
            time.sleep(seconds)
