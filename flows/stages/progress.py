"""Live view of a running stage: a bar in a terminal, a line every few seconds elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from rlhf_core.training.stage import Event

LINE_EVERY_SECONDS = 15.0

METRICS_SHOWN = 4


class LiveStage:
    """Shows the steps of one stage while it trains."""

    def __init__(self, stage: str, key_metrics: tuple[str, ...], console: Console | None = None) -> None:
        self.stage = stage
        self.key_metrics = key_metrics
        self.console = console or Console(stderr=True)
        self.bar = Progress(
            SpinnerColumn(),
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("step {task.fields[place]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[metrics]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.task = self.bar.add_task(stage, total=None, place="0", metrics="")
        self.started = self.last_line = time.monotonic()
        self.first: tuple[int, float] | None = None

    def __enter__(self) -> Self:
        self.bar.start()
        if not self.console.is_terminal:
            self.console.print(f"{self.stage}: started", highlight=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.bar.stop()
        ended = "done" if error is None else "ended early"
        self.console.print(f"{self.stage}: {ended} after {time.monotonic() - self.started:.1f} s", highlight=False)

    def say(self, what: str) -> None:
        """Show what is begun beside the steps."""
        self.bar.update(self.task, metrics=what)
        if not self.console.is_terminal:
            self.console.print(f"{self.stage}: {what}", highlight=False, markup=False, soft_wrap=True)

    def show(self, event: Event) -> None:
        """Show the newest step."""
        shown = [name for name in self.key_metrics if name in event.metrics] or list(event.metrics)
        text = "  ".join(f"{name} {event.metrics[name]:.3g}" for name in shown[:METRICS_SHOWN])
        now = time.monotonic()
        place = self._place(event, now)
        self.bar.update(self.task, completed=event.step, total=event.last, place=place, metrics=text)
        if not self.console.is_terminal and (event.step == event.last or now - self.last_line > LINE_EVERY_SECONDS):
            self.last_line = now
            self.console.print(f"{self.stage}: step {place}  {text}", highlight=False, soft_wrap=True)

    def _place(self, event: Event, now: float) -> str:
        """Which step of how many, and the time to the last one at the pace since the first."""
        self.first = self.first or (event.step, now)
        if event.last is None:
            return str(event.step)
        step, began = self.first
        place = f"{event.step} of {event.last}"
        if event.step == event.last:
            return f"{place}, now measured and saved"
        if event.step == step:
            return place
        return f"{place}, {in_short((event.last - event.step) * (now - began) / (event.step - step))} left"


def in_short(seconds: float) -> str:
    """A time as people say it: seconds below two minutes, else minutes."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
