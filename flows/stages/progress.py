"""Live view of a run: all of its stages with the one that trains in a terminal, a line every few seconds elsewhere."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from rlhf_core.training.stage import Event

LINE_EVERY_SECONDS = 15.0

METRICS_SHOWN = 2


@dataclass
class StageAhead:
    """A stage of a run as the live view knows it.

    Attributes:
        seconds: what it took last time, None where no run tells.
        became: what came of it in words, once it is done; empty before.
        numbers: its last metrics, in words.
    """

    stage: str
    seconds: float | None = None
    became: str = ""
    numbers: str = ""


_COURSE: ContextVar[list[StageAhead] | None] = ContextVar("course", default=None)


@contextmanager
def course() -> Iterator[None]:
    """While a run is under way, the view of each of its stages shows the others too, once `expect` has named them."""
    token = _COURSE.set([])
    try:
        yield
    finally:
        _COURSE.reset(token)


def expect(stages: Iterable[StageAhead]) -> None:
    """Say which stages the run that is under way has, in order."""
    known = _COURSE.get()
    if known is not None:
        known[:] = stages


class LiveStage:
    """Shows the steps of one stage while it trains, among those that are done and those that come."""

    def __init__(self, stage: str, key_metrics: tuple[str, ...], console: Console | None = None) -> None:
        self.stage = stage
        self.key_metrics = key_metrics
        self.console = console or Console(stderr=True)
        self.done, self.own, self.coming = _around(stage)
        self.bar = _view(self.console)
        for ahead in self.done:
            self._row(ahead.stage, ahead.became or "reused", ahead.numbers, mark="✓")
        self.task = self.bar.add_task(stage, total=None, mark=None, place="step 0", metrics="")
        for ahead in self.coming:
            self._row(ahead.stage, "" if ahead.seconds is None else f"about {in_short(ahead.seconds)}", "")
        self.rest = self._row("", "", "") if self.coming else None
        self.started = self.last_line = time.monotonic()
        self.first: tuple[int, float] | None = None
        self.metrics: dict[str, float] = {}

    def __enter__(self) -> Self:
        self.bar.start()
        if not self.console.is_terminal:
            self.console.print(f"{self.stage}: started", highlight=False)
            for line in self._among():
                self.console.print(f"{self.stage}: {line}", highlight=False, soft_wrap=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.bar.stop()
        seconds = time.monotonic() - self.started
        ended = "done" if error is None else "ended early"
        self.own.became, self.own.numbers = in_short(seconds), self._numbers()
        self.console.print(f"{self.stage}: {ended} after {seconds:.1f} s", highlight=False)

    def say(self, what: str) -> None:
        """Show what is begun beside the steps."""
        self.bar.update(self.task, metrics=what)
        if not self.console.is_terminal:
            self.console.print(f"{self.stage}: {what}", highlight=False, markup=False, soft_wrap=True)

    def show(self, event: Event) -> None:
        """Show the newest step."""
        self.metrics |= event.metrics
        text, now = self._numbers(), time.monotonic()
        left = self._left(event, now)
        place, rest = _place(event, left), _rest(left, self.coming)
        self.bar.update(self.task, completed=event.step, total=event.last, place=f"step {place}", metrics=text)
        if self.rest is not None and rest:
            self.bar.update(self.rest, place=rest)
        if not self.console.is_terminal and (event.step == event.last or now - self.last_line > LINE_EVERY_SECONDS):
            self.last_line = now
            where = f"{place}; {rest}" if rest else place
            self.console.print(f"{self.stage}: step {where}  {text}", highlight=False, soft_wrap=True)

    def _row(self, stage: str, place: str, metrics: str, mark: str = "") -> TaskID:
        """Another stage, which does not train now."""
        return self.bar.add_task(stage, start=False, total=1, mark=mark, place=place, metrics=metrics)

    def _among(self) -> Iterator[str]:
        """Which of how many stages it is, and what comes after it; nothing where that is not known."""
        count = len(self.done) + 1 + len(self.coming)
        if count > 1:
            before = "" if self.own.seconds is None else f", {in_short(self.own.seconds)} last time"
            after = ", ".join(ahead.stage for ahead in self.coming)
            yield f"stage {len(self.done) + 1} of {count}{before}{after and f'; then {after}'}"

    def _numbers(self) -> str:
        """The newest of the numbers that matter most."""
        shown = [name for name in self.key_metrics if name in self.metrics] or list(self.metrics)
        return "  ".join(f"{name} {self.metrics[name]:.3g}" for name in shown[:METRICS_SHOWN])

    def _left(self, event: Event, now: float) -> float | None:
        """Time to the last step at the pace since the first, None where that is unknown."""
        self.first = self.first or (event.step, now)
        step, began = self.first
        if event.last is None or (event.step == step and event.step != event.last):
            return None
        return 0.0 if event.step == event.last else (event.last - event.step) * (now - began) / (event.step - step)


def in_short(seconds: float) -> str:
    """A time as people say it: seconds below two minutes, else minutes."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _around(stage: str) -> tuple[Sequence[StageAhead], StageAhead, Sequence[StageAhead]]:
    """The stages of the run before a stage, itself, and those after it; only itself where no run names it."""
    known = _COURSE.get() or []
    place = next((place for place, ahead in enumerate(known) if ahead.stage == stage), None)
    return ([], StageAhead(stage), []) if place is None else (known[:place], known[place], known[place + 1 :])


def _place(event: Event, left: float | None) -> str:
    """Which step of how many, and how long it takes to the last one."""
    if event.last is None:
        return str(event.step)
    place = f"{event.step} of {event.last}"
    if event.step == event.last:
        return f"{place}, now measured and saved"
    return place if left is None else f"{place}, {in_short(left)} left"


def _rest(left: float | None, coming: Sequence[StageAhead]) -> str:
    """How long it takes to the end of the run, as far as that is known."""
    times = [left, *(ahead.seconds for ahead in coming if not ahead.became)]
    if not coming or any(seconds is None for seconds in times):
        return ""
    return f"about {in_short(sum(seconds for seconds in times if seconds is not None))} left in all"


def _view(console: Console) -> Progress:
    """A row for each stage; those that do not train now have neither bar nor clock."""
    return Progress(
        _Mark(),
        TextColumn("[bold]{task.description}"),
        _Bar(bar_width=20),
        TextColumn("{task.fields[place]}"),
        _Clock(),
        TextColumn("{task.fields[metrics]}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


class _Mark(SpinnerColumn):
    """A mark, or a spinner for what trains now."""

    def render(self, task: Task) -> RenderableType:
        mark: Any = task.fields["mark"]
        return super().render(task) if mark is None else Text(mark)


class _Bar(BarColumn):
    """A bar for what trains now."""

    def render(self, task: Task) -> Any:
        return super().render(task) if task.started else Text("")


class _Clock(TimeElapsedColumn):
    """The time of what trains now."""

    def render(self, task: Task) -> Text:
        return super().render(task) if task.started else Text("")
