"""Prefect's API for one climb, started by `flows.deploy.prefect_server`: serves until its standard input ends."""

import signal
import socket
import sys
import threading

import uvicorn
from prefect.server.api.server import create_app


def main() -> None:
    """Serve on the listening socket whose number is the only argument."""
    threading.Thread(target=_end_with_input, daemon=True).start()
    server = uvicorn.Server(uvicorn.Config(create_app(ephemeral=True, final=True), log_level="error"))
    server.run(sockets=[socket.socket(fileno=int(sys.argv[1]))])


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    main()
