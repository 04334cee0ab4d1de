"""Timer of named steps, with the largest memory so far."""

import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

MAXRSS_PER_MIB = 2**20 if sys.platform == "darwin" else 2**10


class Clock:
    """Adds up the seconds of named steps that take turns.

    Attributes:
        seconds: of each step.
        peak_mib: the largest resident memory of the process up to the end of each step, in MiB.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.peak_mib: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count what happens inside towards a step."""
        started = self._now()
        try:
            yield
        finally:
            self.seconds[name] += self._now() - started
            self.peak_mib[name] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MAXRSS_PER_MIB

    def each(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """Count what it takes to get each item towards a step."""
        rest = iter(items)
        while True:
            with self.step(name):
                try:
                    item = next(rest)
                except StopIteration:
                    return
            yield item
