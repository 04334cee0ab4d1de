"""The process from which `benchmarks.common.forks` forks: it imports all that commands import once they are asked to.

Reads orders from a socket, its standard input, each a line of JSON that comes with the streams of the fork and the
socket of its answers: the number of the process, and its exit code once it is gone, a negative one being a signal.
"""

import gc
import json
import logging
import os
import random
import select
import signal
import socket
import sys
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NamedTuple, NoReturn

from flows import cli
from flows.deploy.environment import importing, quiet

IMPORTED = (
    *("flows.pipeline.ladder", "flows.promotion.promote", "flows.promotion.tables", "flows.data.ingest"),
    *("flows.data.inspection", "flows.inference.ask", "flows.lineage.story", "flows.pipeline.climb_page.page"),
    *("flows.pipeline.token_check", "mlflow.store.tracking.sqlalchemy_store", "prefect.server.api.server"),
    *("mlflow.store.model_registry.sqlalchemy_store", "torch.distributed.checkpoint", "rich.console"),
    *("benchmarks.common.ready_servers", "numpy"),
    *("sklearn.linear_model", "sklearn.feature_extraction.text", "sklearn.model_selection", "sacrebleu"),
    *(
        "great_expectations",
        "pandera.backends.pandas.register",
        "pandera.strategies.pandas_strategies",
        "sklearn.isotonic",
        "sklearn.manifold",
        "sklearn.tree",
    ),
    *(
        "sklearn.discriminant_analysis",
        "prefect.flow_engine",
        "prefect.engine",
        "prefect.utilities.visualization",
        "flows.config.loading",
    ),
)
"""What climbs and questions import once they are asked to."""

POLL_SECONDS = 0.01
STREAMS = 4
RLHF = str(Path(sys.executable).with_name("rlhf"))


class Order(NamedTuple):
    """A process that is to be forked, with its standard streams and the socket of its answers."""

    wanted: dict[str, Any]
    streams: list[int]
    answers: socket.socket


def serve(orders: socket.socket) -> Order | None:
    """Fork until nobody gives orders any more: in a fork gives its order, in the process itself None."""
    children = dict[int, socket.socket]()
    buffer, streams = b"", list[int]()
    while True:
        told, _, _ = select.select([orders, *children.values()], [], [], POLL_SECONDS if children else None)
        if orders in told:
            read, numbers, _, _ = socket.recv_fds(orders, 1 << 16, STREAMS)
            if not read:
                _kill(children)
                return None
            buffer, streams = buffer + read, streams + numbers
            if b"\n" in buffer:
                line, _, buffer = buffer.partition(b"\n")
                order = Order(json.loads(line), streams[:3], socket.socket(fileno=streams[3]))
                streams = []
                if not (process := os.fork()):
                    for each in (orders, order.answers, *children.values()):
                        each.detach()  # their numbers are others' files soon
                    return order
                order.answers.sendall(b"%d\n" % process)
                for number in order.streams:
                    os.close(number)
                children[process] = order.answers
        _kill({process: answers for process, answers in children.items() if answers in told})  # who waited is gone
        for process in list(children):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                with children.pop(process) as answers:
                    answers.send(b"%d\n" % os.waitstatus_to_exitcode(status), socket.MSG_NOSIGNAL)


def _kill(children: dict[int, socket.socket]) -> None:
    for process in children:
        os.kill(process, signal.SIGKILL)


def become(order: Order, templates: Path) -> NoReturn:
    """Be `rlhf`, or run code, as it was ordered.

    Args:
        order: what is wanted.
        templates: folder of databases that were made already.
    """
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs ignore
    for own, standard in zip(order.streams, range(3), strict=True):
        os.dup2(own, standard)
    os.closerange(3, 1024)
    os.environ.clear()
    os.environ.update(order.wanted["environment"])
    folders = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [folder for folder in folders if folder and folder not in sys.path]
    os.chdir(order.wanted["cwd"])
    random.seed()
    import_module("numpy").random.seed()
    import_module("benchmarks.common.ready_servers").prepare(templates)
    for function, arguments in order.wanted["before"]:
        resolve_name(function)(**arguments)
    code = order.wanted["code"]
    sys.argv = ["-c" if code else RLHF, *order.wanted["arguments"]]
    if code:
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102 as `python -c` would
    else:
        cli.main()
    sys.exit(0)


def main(templates: str) -> None:
    """Import all, then fork until there are no more orders."""
    quiet()
    with importing():
        for name in IMPORTED:
            import_module(name)
    logging.captureWarnings(False)  # which Great Expectations begins when it is imported
    gc.collect()
    gc.freeze()  # forks share what stays
    if order := serve(socket.socket(fileno=0)):
        become(order, Path(templates))


if __name__ == "__main__":
    main(*sys.argv[1:])
