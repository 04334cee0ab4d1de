"""Checkpoints of a stage, so that one that was cut off goes on, on as many ranks as there are then.

A state is written beside the others, sealed, and renamed when it is complete and on the disk. One that was cut or has
changed since is named and removed, and the one before it is used.
"""

import errno
import json
import math
import shutil
import time
import warnings
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.checkpoint.stateful import Stateful

from rlhf_core.distributed import from_first, rank, wait
from rlhf_core.training.durable import flush
from rlhf_core.training.seals import damage, seal
from rlhf_core.training.stage import OutOfTime
from rlhf_core.training.state_reader import foreign, read_state

NOTES = "notes.json"

STATE = "step-"
"""Begins the name of the folder of a state; after it stands how many steps are done."""

CUT_SHORT = "inline_container.cc"
"""Names where torch notices that a file did not take all that was written to it, as on a full disk."""

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
        until: `time.monotonic()` of the first rank after which the next state is the last; infinite for no end.
    """

    def __init__(self, folder: Path | None, *, every_seconds: float = 0.0, until: float = math.inf) -> None:
        self._folder = folder
        self._every = every_seconds
        self._until = until
        self._due = math.inf if folder is None else time.monotonic() + every_seconds

    @property
    def notes(self) -> dict[str, Any]:
        """What was noted in the newest sound state; empty where there is none."""
        return {} if self._newest is None else _noted(self._newest)

    def restore(self, parts: Mapping[str, Stateful]) -> dict[str, Any]:
        """Bring parts back to the newest sound state.

        Args:
            parts: what `keep` was given, by the same names.

        Returns:
            The notes of that state; empty, and the parts untouched, where there is none.
        """
        if self._newest is None:
            return {}
        read_state(dict(parts), self._newest / "state")
        return _noted(self._newest)

    def forget(self, reason: str) -> None:
        """Remove all states, so that the stage begins anew; the reason is told."""
        states = from_first(self._states())
        if rank() == 0 and states:
            warnings.warn(f"{reason}; the stage begins anew", stacklevel=2)
            for state in states:
                shutil.rmtree(state)
        wait()
        self.__dict__.pop("_newest", None)

    def drop_after(self, step: int, reason: str) -> None:
        """Remove the states of a later step than this; the reason is told."""
        later = [state for state in self._states() if state.name > f"{STATE}{step:09d}"]
        if later:
            warnings.warn(f"{reason}; the stage goes on from a state before it", stacklevel=2)
        for state in later:
            shutil.rmtree(state)
        self.__dict__.pop("_newest", None)

    def keep(self, parts: Mapping[str, Stateful], notes: Mapping[str, Any]) -> None:
        """Write a state if one is due, then drop the ones that are no longer needed.

        Args:
            parts: models with their optimisers, by name.
            notes: what else is needed to go on, as JSON takes it; `step` counts the events that are done.

        Raises:
            OutOfTime: once the state is on the disk, if there is no more time after it.
        """
        if self._folder is None:
            return
        due, over = from_first((time.monotonic() >= self._due, time.monotonic() >= self._until))
        if due or over:
            self._write(self._folder, parts, notes)
        if over:
            raise OutOfTime(f"{notes['step']} steps are kept in {self._folder}")

    def _write(self, folder: Path, parts: Mapping[str, Stateful], notes: Mapping[str, Any]) -> None:
        started = time.monotonic()
        writing = folder / "writing"
        if rank() == 0:
            shutil.rmtree(writing, ignore_errors=True)
            writing.mkdir(parents=True)
        wait()
        write_state(parts, writing / "state")
        wait()
        if rank() == 0:
            (writing / NOTES).write_text(json.dumps(notes), encoding="utf-8")
        wait()
        seal(writing)
        if rank() == 0:
            target = folder / f"{STATE}{notes['step']:09d}"
            shutil.rmtree(target, ignore_errors=True)
            writing.rename(target)
            flush(folder)
            for old in self._states()[:-KEPT]:
                shutil.rmtree(old)
        wait()
        now = time.monotonic()
        self._due = now + max(self._every, (now - started) / SHARE if self._every else 0.0)

    @cached_property
    def _newest(self) -> Path | None:
        """The newest sound state when it is first asked for; what is newer and damaged is removed."""
        for state in reversed(from_first(self._states())):
            if not (found := damage(state) or foreign(state / "state")):
                return state
            if rank() == 0:
                warnings.warn(f"state {state} is not used, as {found}; the one before it is", stacklevel=2)
                shutil.rmtree(state)
            wait()
        return None

    def _states(self) -> list[Path]:
        """Those whose writing ended, the oldest first."""
        return [] if self._folder is None else sorted(self._folder.glob(f"{STATE}*"))


def write_state(parts: Mapping[str, Any], folder: Path) -> None:
    """Write parts of a state; all ranks call it together.

    Raises:
        OSError: whatever the disk of a rank said.
    """
    with warnings.catch_warnings(action="ignore"):  # one process is told that it is alone
        try:
            save(dict(parts), checkpoint_id=folder)
        except CheckpointException as error:
            failure = next(failure for failure, _ in error.failures.values())
            if CUT_SHORT in str(failure):
                raise OSError(errno.ENOSPC, f"a state could not be written whole ({failure})", str(folder)) from None
            raise failure from None


NEVER = Checkpoints(None)
"""Keeps no state."""


def _noted(path: Path) -> dict[str, Any]:
    notes: dict[str, Any] = json.loads((path / NOTES).read_text(encoding="utf-8"))
    return notes
