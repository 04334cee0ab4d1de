"""The events of a stage: on disk before any state that comes after them, in its MLflow run every few seconds.

So a climb that is killed loses none of its curves. A stage that goes on says its last events again, and one that begins
anew all of them; steps that are known are passed over.
"""

import json
import time
import warnings
from contextlib import closing
from pathlib import Path

import xxhash

from flows.registry.client import Registry
from rlhf_core.distributed import rank
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
    events = []
    for number, line in enumerate(_content(states).split(b"\n")[:-1], start=1):
        digest, _, text = line.partition(b" ")
        if digest == xxhash.xxh3_64_hexdigest(text).encode():
            events.append(Event(*json.loads(text)))
        else:
            warnings.warn(f"{states / JOURNAL}: line {number} is damaged; its step is not logged", stacklevel=2)
    return events


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
