"""How a side takes turns: it waits for a line, works some steps and prints its figures as a line."""

import json
import resource
import sys
import time
from typing import Any

import torch


class Turns:
    """The turns of one side, in a process of its own that keeps its models between them.

    Args:
        steps: optimiser steps of a turn.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._done: list[dict[str, Any]] = []
        self._mine = False

    def enter(self) -> None:
        """Wait for the turn, unless it has come already."""
        if not self._mine and not sys.stdin.readline():
            raise SystemExit("nobody hands out turns any more")
        self._mine = True

    def add(self, step: dict[str, Any]) -> None:
        """Keep the figures of a step; after the last one of the turn, print them."""
        self._done.append(step)
        if len(self._done) == self._steps:
            print(json.dumps({"steps": self._done, "peak_mib": peak_mib()}), flush=True)
            self._done, self._mine = [], False


def now() -> float:
    """Seconds on a clock, when the accelerator has done all that it was asked for."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def peak_mib() -> float:
    """Most memory so far: of tensors on the accelerator, else of the process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
