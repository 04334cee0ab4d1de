"""What a stage does beside its steps, said when it begins: to the log of this module, for whoever listens."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rlhf_core.distributed import rank

log = logging.getLogger(__name__)


def doing(what: str) -> None:
    """Say what begins now and may take a while; of several ranks the first one speaks."""
    if rank() == 0:
        log.info(what)


@contextmanager
def heard_by(hear: Callable[[str], None]) -> Iterator[None]:
    """Have what begins told to a function, and to no other listener."""
    handler, level, propagates = logging.Handler(), log.level, log.propagate
    handler.emit = lambda record: hear(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagates
