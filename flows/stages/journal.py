"""The events of a stage: on disk before any state that comes after them, in its MLflow run every few seconds.

So a climb that is killed loses none of its curves. A stage that goes on says its last events again, and one that begins
anew all of them; steps that are known are passed over. Where figures are damaged before MLflow has them, the stage goes
on from a state before them.
"""

import json
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import xxhash

from flows.registry.client import Registry
from rlhf_core.distributed import rank
from rlhf_core.training.checkpoint import Checkpoints
from rlhf_core.training.stage import Event, Stage, StageResult

JOURNAL = "events.jsonl"
"""Lies beside the states of a stage, and is removed with them."""

FLUSH_EVERY_SECONDS = 2.0


def journaled(stage: Stage, states: Path | None) -> Stage:
    """The same stage, whose events are written down before it goes on; all ranks run it, the first one writes."""
    if states is None or rank() > 0:
        return (yield from stage)
    last = max((event.step for event in read_journal(states)), default=-1)
    with closing(stage), (states / JOURNAL).open("a", encoding="utf-8") as file:
        file.truncate(_content(states).rfind(b"\n") + 1)
        while True:
            try:
                event = next(stage)
            except StopIteration as end:
                result: StageResult = end.value
                return result
            if event.step > last:
                text = json.dumps(event)
                print(xxhash.xxh3_64_hexdigest(text.encode()), text, file=file, flush=True)
            yield event


def read_journal(states: Path) -> list[Event]:
    """The events beside some states; a last line that was cut off is none, and one that is damaged is passed over."""
    return [event for event, _ in _lines(states) if event is not None]


def drop_untold(states: Path, logged: int) -> None:
    """Drop what is kept of a stage after the first step whose figures nobody knows, so that it is done and told again.

    Args:
        states: folder that has the journal.
        logged: last step that MLflow has, -1 where it has none.
    """
    path, size, told = states / JOURNAL, 0, logged
    for number, (event, end) in enumerate(_lines(states), start=1):
        if event is None:
            warnings.warn(f"{path}: line {number} is damaged; its figures are in MLflow or told again", stacklevel=2)
        elif event.step <= told + 1:
            size, told = end, max(told, event.step)
    if path.exists():
        os.truncate(path, size)
    Checkpoints(states).drop_after(told + 1, f"MLflow and {path} lack the figures of step {told + 1}")


def _lines(states: Path) -> Iterator[tuple[Event | None, int]]:
    """The event of each whole line of a journal, None where it is damaged, and where the line ends."""
    end = 0
    for line in _content(states).split(b"\n")[:-1]:
        end += len(line) + 1
        digest, _, text = line.partition(b" ")
        yield Event(*json.loads(text)) if digest == xxhash.xxh3_64_hexdigest(text).encode() else None, end


def _content(states: Path) -> bytes:
    path = states / JOURNAL
    return path.read_bytes() if path.exists() else b""


class LoggedEvents:
    """Events on their way into the MLflow run of a stage, which may have some of them already.

    Args:
        states: folder that has the journal.
        registry: where the run is.
        run_id: the run, new or cut off.

    Attributes:
        last: step of the last event, -1 before the first.
    """

    def __init__(self, states: Path, registry: Registry, run_id: str) -> None:
        self._registry = registry
        self._run_id = run_id
        self.last = registry.last_step(run_id)
        self._owed: list[Event] = []
        for event in read_journal(states):
            self._owe(event)
        self._flushed = time.monotonic()

    def add(self, event: Event) -> None:
        """Log an event soon, unless the run knows its step."""
        self._owe(event)
        if time.monotonic() - self._flushed > FLUSH_EVERY_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Log what the run is owed now."""
        self._registry.log_events(self._run_id, self._owed)
        self._owed, self._flushed = [], time.monotonic()

    def _owe(self, event: Event) -> None:
        if event.step > self.last:
            self._owed.append(event)
            self.last = event.step
