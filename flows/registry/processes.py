"""Which process a run is of, and whether that is still there: by its machine, number and start; and whose it is."""

import getpass
import os
import socket
from pathlib import Path


def process_tag() -> str:
    """This process, as `host:number:start`; its start is told in ticks since that of the machine: no clock moves it."""
    return f"{socket.gethostname()}:{os.getpid()}:{_start(os.getpid())}"


def user_name() -> str:
    """Who runs this; the number of a user without a name, as containers have them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def is_dead(tag: str) -> bool:
    """Whether a process that a tag names ran on this machine and has ended; one of another machine counts as living.

    Args:
        tag: as `process_tag` writes it, or `host:number` of earlier versions.
    """
    host, _, rest = tag.partition(":")
    number, _, start = rest.partition(":")
    if host != socket.gethostname() or not number.isdigit():
        return False
    now = _start(int(number))
    return now is None or (bool(start) and bool(now) and now != start)


def number_is_dead(process: int) -> bool:
    """Whether no process of this machine has a number now."""
    return _start(process) is None


def _start(process: int) -> str | None:
    """When a process started; None where there is none, or only its exit code is left; empty where nothing tells."""
    if not Path("/proc/self/stat").exists():
        return "" if _answers(process) else None
    try:
        state, *fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else fields[18]


def _answers(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
