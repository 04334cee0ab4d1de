"""Time that a stage may take."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.task_engine import TaskRunTimeoutError
from prefect.utilities.timeout import timeout

SHORTEST_SECONDS = 1e-3
"""What a step is given where nothing is left: it is cut off at once, also where an earlier cut was swallowed."""


class TimeLimit:
    """Cuts a step of a stage off at the end of its time.

    Around its steps only: a call of MLflow that is cut off could leave its database locked, so that no one could say
    how the run ended.
    """

    def __init__(self, stage: str, seconds: float | None) -> None:
        self.stage, self.seconds, self.started = stage, seconds, time.monotonic()

    @contextmanager
    def left(self) -> Iterator[None]:
        """The time that is left.

        Raises:
            TaskRunTimeoutError: when it is over.
        """
        over = self.seconds and max(self.started + self.seconds - time.monotonic(), SHORTEST_SECONDS)
        try:
            with timeout(over, TaskRunTimeoutError):
                yield
        except TaskRunTimeoutError:
            limit = f"{self.seconds:g} s that `compute.time_outs` gives it"
            raise TaskRunTimeoutError(f"{self.stage} took longer than the {limit}; run again to go on") from None
