"""What a climb does to itself at a named point: it is really killed there, or what it computed there goes wrong."""

import errno
import os
import resource
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

HOUR = 3600.0


def inject(point: str, action: str, nth: int = 1, *, after: bool = False) -> None:
    """Have something happen when a function is called for the nth time, before it or after it.

    Args:
        point: `module:function` or `module:Class.method`, where its caller looks it up.
        action: a name of `ACTIONS`; it takes what the function returned, if it comes after it.
        nth: which call; 0 for every one.
        after: whether the function itself goes first.
    """
    owner, _, name = point.rpartition("." if "." in point.partition(":")[2] else ":")
    place, calls = resolve_name(owner), 0
    whole = getattr(place, name)

    def instead(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if nth not in (0, calls):
            return whole(*args, **kwargs)
        if after:
            return ACTIONS[action](whole(*args, **kwargs))
        ACTIONS[action](None)
        return whole(*args, **kwargs)

    setattr(place, name, instead)


def kill(returned: Any) -> Any:
    """End this process at once."""
    os.kill(os.getpid(), signal.SIGKILL)
    return returned


def no_space(returned: Any) -> Any:
    """Say what a full disk says."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read_only(returned: Any) -> Any:
    """Say what a file system says that is mounted read-only."""
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def small_files(returned: Any) -> Any:
    """Let no file grow beyond 64 KiB from here on, as a disk would that is nearly full."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, resource.RLIM_INFINITY))
    return returned


def nan(returned: Any) -> Any:
    """Make a tensor all NaN."""
    return returned * float("nan")


def infinite(returned: Any) -> Any:
    """Make a tensor infinite."""
    return returned + float("inf")


def server_away(returned: Any) -> Any:
    """Kill the server of which a file that the environment names tells the process group."""
    os.killpg(int(Path(os.environ["FAULTS_SERVER"]).read_text(encoding="utf-8")), signal.SIGKILL)
    return returned


def own_server_gone(returned: Any) -> Any:
    """Kill what this process has started itself: its Prefect server."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text(encoding="utf-8").rpartition(")")[2].split()[1]) == os.getpid():
                os.kill(int(stat.parent.name), signal.SIGKILL)
    return returned


def an_hour_ago(returned: Any) -> Any:
    """Set the clock that this process reads back by an hour."""
    now = time.time
    time.time = lambda: now() - HOUR
    return returned


ACTIONS: dict[str, Callable[[Any], Any]] = {
    action.__name__: action
    for action in (kill, no_space, read_only, small_files, nan, infinite, server_away, own_server_gone, an_hour_ago)
}
