"""File locks, which the system releases even when their holder is killed."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a file's lock, waiting for whoever holds it.

    Args:
        path: the lock file; made if absent and left behind, because removing it would let two in.

    Yields:
        Once the lock is held.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock of a file that exists."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def owner(path: Path) -> int | None:
    """The process that took the lock of a file that exists; None where nobody holds it, or the system does not tell.

    It may be dead: a child that it forked holds the lock with it.
    """
    table = Path("/proc/locks")
    if not table.exists() or not is_held(path):
        return None
    status = path.stat()
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    entries = (line.split() for line in table.read_text(encoding="utf-8").splitlines())
    return next((int(entry[4]) for entry in entries if entry[1] == "FLOCK" and entry[5] == place), None)
