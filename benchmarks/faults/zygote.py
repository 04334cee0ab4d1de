"""Forks climbs from a process that has imported all of them: each is `rlhf` with its arguments, and is really killed.

Reads a JSON object a line: arguments of `rlhf`, the file for what it says, and the injection. Writes `pid N`, and
`end N CODE` once that process is gone, a negative code being a signal.
"""

import json
import os
import select
import signal
import sys
from importlib import import_module
from typing import Any

from benchmarks.faults.injections import inject
from flows.cli import main
from flows.deploy.environment import importing, quiet

IMPORTED = ("flows.pipeline.ladder", "flows.promotion.promote", "torch.distributed.checkpoint")
"""What climbs and promotions import once they are asked to."""

POLL_SECONDS = 0.01


def serve() -> None:
    """Import all, then fork until there is no more input."""
    quiet()
    with importing():
        for name in IMPORTED:
            import_module(name)
    children = set[int]()
    buffer = b""
    print("ready", flush=True)
    while True:
        if select.select([0], [], [], POLL_SECONDS)[0]:
            read = os.read(0, 1 << 16)
            if not read and not children:
                return
            *lines, buffer = (buffer + read).split(b"\n")
            for line in lines:
                children.add(process := _fork(json.loads(line)))
                print(f"pid {process}", flush=True)
        for process in list(children):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                children.discard(process)
                print(f"end {process} {os.waitstatus_to_exitcode(status)}", flush=True)


def _fork(order: dict[str, Any]) -> int:
    process = os.fork()
    if process:
        return process
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
    said = os.open(order["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for own, standard in ((nothing, 0), (said, 1), (said, 2)):
        os.dup2(own, standard)
    os.closerange(3, 1024)
    for injection in order["injections"]:
        inject(**injection)
    sys.argv = ["rlhf", *order["arguments"]]
    main()
    sys.exit(0)


if __name__ == "__main__":
    serve()
