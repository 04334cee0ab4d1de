"""Prefect's API for one climb, started by `flows.own_server`: serves until its standard input ends."""

import socket
import sys
import threading

import uvicorn
from prefect.server.api.server import create_app


def main() -> None:
    """Serve on the listening socket whose number is the only argument."""
    server = uvicorn.Server(uvicorn.Config(create_app(ephemeral=True, final=True), log_level="error"))

    def end_with_input() -> None:
        sys.stdin.buffer.read()
        server.should_exit = True

    threading.Thread(target=end_with_input, daemon=True).start()
    server.run(sockets=[socket.socket(fileno=int(sys.argv[1]))])


if __name__ == "__main__":
    main()
