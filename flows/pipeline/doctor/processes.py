"""Processes of this machine that use a storage folder, as /proc tells; nothing is told where there is none."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from flows.pipeline.doctor.leftover import Leftover

SERVER = b"flows.deploy.prefect_api"


def users(folder: Path) -> list[int]:
    """Processes, this one and its children apart, that have a file below a folder open."""
    prefix = f"{folder.resolve()}/"
    return [process for process in _others() if any(name.startswith(prefix) for name in _open(process).values())]


def holders(file: Path) -> list[int]:
    """Processes, this one and its children apart, that have a file open."""
    name = str(file.resolve())
    return [process for process in _others() if name in _open(process).values()]


def find_servers(storage: Path) -> Iterator[Leftover]:
    """Prefect servers of a storage folder whose climb is dead: nobody holds the other end of their standard input."""
    home = f"PREFECT_HOME={storage}/prefect".encode()
    for process in _all():
        if SERVER in _read(process, "cmdline").split(b"\0") and home in _read(process, "environ").split(b"\0"):
            pipe = _open(process).get("0", "")
            if not any(pipe in _open(other).values() for other in _all() if other != process):
                yield Leftover(
                    "server",
                    str(process),
                    "a Prefect server whose climb is dead",
                    "ends it",
                    fix=partial(os.kill, process, signal.SIGKILL),  # it had its end of input to end by itself
                )


def _others() -> list[int]:
    return [process for process in _all() if os.getpid() not in (process, _parent(process))]


def _all() -> list[int]:
    return sorted(int(folder.name) for folder in Path("/proc").glob("[0-9]*"))


def _parent(process: int) -> int | None:
    fields = _read(process, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if fields else None


def _open(process: int) -> dict[str, str]:
    """What a process has open by descriptor; nothing of one that is gone, or is somebody else's."""
    names: dict[str, str] = {}
    with suppress(OSError):
        for descriptor in os.listdir(f"/proc/{process}/fd"):
            with suppress(OSError):  # closed since
                names[descriptor] = os.readlink(f"/proc/{process}/fd/{descriptor}")
    return names


def _read(process: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{process}/{name}").read_bytes()
    except OSError:
        return b""
