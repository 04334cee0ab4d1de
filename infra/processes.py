"""What a stack has started: supervisor marks each process of it, and with it every process that one starts."""

import contextlib
import os
import signal
import time
from pathlib import Path

GRACE_SECONDS = 15.0


def mark(stack: Path) -> str:
    """What the environment of each process of the stack holds."""
    return f"SUPERVISOR_SERVER_URL=unix://{stack}/supervisor.sock"


def marked(*marks: str) -> list[int]:
    """Processes other than this one whose environment holds all marks; Linux tells, elsewhere there are none."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is somebody else's
            held = (folder / "environ").read_bytes().split(b"\0")
            if all(text.encode() in held for text in marks):
                found.append(int(folder.name))
    return sorted(set(found) - {os.getpid()})


def end(*marks: str) -> None:
    """End all processes with these marks: politely, and after the grace by force."""
    deadline = time.monotonic() + GRACE_SECONDS
    asked: set[int] = set()
    while left := marked(*marks):
        late = time.monotonic() > deadline
        for process in left if late else set(left) - asked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL if late else signal.SIGTERM)
        asked |= set(left)
        time.sleep(0.2)
