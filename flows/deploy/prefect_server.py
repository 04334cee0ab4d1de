"""A Prefect server of one's own, where the environment names none: a process that ends with this one.

The server starts while the climb still imports: its address is known at once, and requests wait in the socket that it
inherits until it answers them. Its standard input is a pipe from the climb, which ends with it, even if it is killed.
"""

import atexit
import os
import socket
import subprocess
import sys
import tempfile
import threading
from typing import IO

HOST = "127.0.0.1"

API_SETTINGS = {"PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false"}
"""Of the server, unless the environment says otherwise; no flow of ours has a block."""

GRACE_SECONDS = 10.0
"""What the server gets to end before it is killed."""


def start_server() -> None:
    """Start a server on `PREFECT_HOME` and name it to Prefect, which must not have been imported yet."""
    if os.environ.get("PREFECT_API_URL"):
        return
    words = tempfile.TemporaryFile()  # noqa: SIM115 open as long as the server is
    with socket.create_server((HOST, 0)) as listener:
        server = launch_api(listener, words)
        os.environ["PREFECT_API_URL"] = f"http://{HOST}:{listener.getsockname()[1]}/api"
    meant = threading.Event()
    threading.Thread(target=_watch, args=(server, meant, words), daemon=True).start()
    atexit.register(_end, server, meant)  # registered before what Prefect does at exit, so called after it


def launch_api(listener: socket.socket, words: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the server's process; tests put a fork in its place, which need not import Prefect again.

    Args:
        listener: the socket on which it serves.
        words: where its errors go.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "flows.deploy.prefect_api", str(listener.fileno())],
        env=API_SETTINGS | os.environ,
        stdin=subprocess.PIPE,
        stderr=words,
        pass_fds=[listener.fileno()],
        start_new_session=True,  # Ctrl-C comes to the climb, which still has to say how it ended
    )


def _watch(server: subprocess.Popen[bytes], meant: threading.Event, words: IO[bytes]) -> None:
    """Say what it means where the server ends before this process; what it said itself is for its maintainers."""
    code = server.wait()
    if meant.is_set():
        return
    words.seek(0)
    last = words.read().decode(errors="replace").strip().rpartition("\n")[2]
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}{last and f' ({last})'}"
    print(
        f"error: the Prefect server of this run, which belongs to it alone, {how}; the run cannot go on "
        "without it: start it again, and it goes on from what is kept",
        file=sys.stderr,
    )


def _end(server: subprocess.Popen[bytes], meant: threading.Event) -> None:
    meant.set()
    assert server.stdin is not None
    server.stdin.close()
    try:
        server.wait(GRACE_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        server.kill()
