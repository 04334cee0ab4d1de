"""Checkpoints of a stage, so that one that was cut off goes on, on as many ranks as there are then.

A state is written beside the others and renamed when it is complete; the sizes of its files are noted in it, so that
one that was cut is not read and the one before it is.
"""

import json
import math
import shutil
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.checkpoint.stateful import Stateful

from rlhf_core.distributed import from_first, rank, wait

NOTES = "notes.json"

KEPT = 2
"""States on disk: the newest and the one before it."""

SHARE = 0.02
"""Of the time at most this share goes into keeping states."""


class Checkpoints:
    """The states of one stage. All ranks call its methods together; the folder is one that all of them see.

    Args:
        folder: where the states lie; None keeps none.
        every_seconds: time between two states, longer where writing them would take more than 2 % of it; 0 keeps every
            state.
    """

    def __init__(self, folder: Path | None, *, every_seconds: float = 0.0) -> None:
        self._folder = folder
        self._every = every_seconds
        self._due = math.inf if folder is None else time.monotonic() + every_seconds

    @property
    def notes(self) -> dict[str, Any]:
        """What was noted in the newest sound state; empty where there is none."""
        newest = from_first(self._sound()[-1:])
        return _noted(newest[0]) if newest else {}

    def restore(self, parts: Mapping[str, Stateful]) -> dict[str, Any]:
        """Bring parts back to the newest sound state.

        Args:
            parts: what `keep` was given, by the same names.

        Returns:
            The notes of that state; empty, and the parts untouched, where there is none.
        """
        newest = from_first(self._sound()[-1:])
        if not newest:
            return {}
        with warnings.catch_warnings(action="ignore"):  # one process is told that it is alone
            load(dict(parts), checkpoint_id=newest[0] / "state")
        return _noted(newest[0])

    def keep(self, parts: Mapping[str, Stateful], notes: Mapping[str, Any]) -> None:
        """Write a state if one is due, then drop the ones that are no longer needed.

        Args:
            parts: models with their optimisers, by name.
            notes: what else is needed to go on, as JSON takes it; `step` counts the events that are done.
        """
        if self._folder is None or not from_first(time.monotonic() >= self._due):
            return
        started = time.monotonic()
        writing = self._folder / "writing"
        if rank() == 0:
            shutil.rmtree(writing, ignore_errors=True)
            writing.mkdir(parents=True)
        wait()
        with warnings.catch_warnings(action="ignore"):
            save(dict(parts), checkpoint_id=writing / "state")
        wait()
        if rank() == 0:
            (writing / NOTES).write_text(json.dumps({"notes": notes, "sizes": _sizes(writing)}))
            target = self._folder / f"step-{notes['step']:09d}"
            shutil.rmtree(target, ignore_errors=True)
            writing.rename(target)
            for old in sorted(self._folder.glob("step-*"))[:-KEPT]:
                shutil.rmtree(old)
        wait()
        now = time.monotonic()
        self._due = now + max(self._every, (now - started) / SHARE if self._every else 0.0)

    def _sound(self) -> list[Path]:
        """Complete states, the oldest first."""
        return [] if self._folder is None else [path for path in sorted(self._folder.glob("step-*")) if _is_sound(path)]


NEVER = Checkpoints(None)
"""Keeps no state."""


def _is_sound(path: Path) -> bool:
    try:
        return bool(json.loads((path / NOTES).read_text())["sizes"] == _sizes(path))
    except (OSError, ValueError):
        return False


def _noted(path: Path) -> dict[str, Any]:
    notes: dict[str, Any] = json.loads((path / NOTES).read_text())["notes"]
    return notes


def _sizes(path: Path) -> dict[str, int]:
    files = (file for file in path.rglob("*") if file.is_file() and file.name != NOTES)
    return {file.relative_to(path).as_posix(): file.stat().st_size for file in files}
