"""What a training stage yields while it runs, events, returns when it ends, its result, or raises if it must stop."""

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from rlhf_core.metrics.estimates import Estimate


class Event(NamedTuple):
    """Metrics of one optimiser step or update; the caller decides where they are logged.

    Attributes:
        step: its number.
        metrics: figures by name.
        last: number of the last step, unless something ends the stage before; None where that is not known.
    """

    step: int
    metrics: dict[str, float]
    last: int | None = None


class OutOfTime(Exception):
    """The time that a stage was given is over; its state is kept, and it goes on from there when it is begun again."""


@dataclass(frozen=True)
class StageResult:
    """The outcome of a stage.

    Attributes:
        artifacts: what was made, by name, each a directory that `from_pretrained` reads.
        estimates: figures with intervals, which gates judge.
        evidence: the held-out rows that the estimates were computed from, with what was measured on each, by name;
            `rlhf_core.metrics.evidence` computes the estimates from them again.
        series: numbers behind figures, by name.
        samples: a few prompts with responses, for people to read.
        outcome: what ended training before its time and which state is the result, or which held-out rows do not judge
            it; empty where there is nothing to say.
    """

    artifacts: dict[str, Path]
    estimates: dict[str, Estimate] = field(default_factory=dict)
    evidence: dict[str, pa.Table] = field(default_factory=dict)
    series: dict[str, list[float]] = field(default_factory=dict)
    samples: list[dict[str, str]] = field(default_factory=list)
    outcome: str = ""


Stage = Generator[Event, None, StageResult]


def finish(stage: Stage) -> StageResult:
    """Run a stage to its end and drop its events; for a REPL."""
    while True:
        try:
            next(stage)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
