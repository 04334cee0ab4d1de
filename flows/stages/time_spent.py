"""Time that a stage has taken."""

import time

from flows.registry.client import Registry
from flows.registry.names import SECONDS_TAG
from flows.registry.provenance import spent


class TimeSpent:
    """What a stage has taken since now, and in the tries of its run before that could still say so.

    A process that is killed takes the time of its try with it; its run says that it was resumed.
    """

    def __init__(self, registry: Registry, run_id: str, price_per_hour: float | None) -> None:
        self._before = float(registry.client.get_run(run_id).data.tags.get(SECONDS_TAG, 0.0))
        self._price = price_per_hour
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """All of it."""
        return self._before + time.monotonic() - self._started

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the run that say so, and what it cost."""
        return spent(self.seconds, self._price)
