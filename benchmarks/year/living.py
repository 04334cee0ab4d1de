"""A year from its first week to its outcome, on servers or without."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from benchmarks.common.machine import machine
from benchmarks.year.alone import Alone
from benchmarks.year.calendar import draw
from benchmarks.year.configuration import make_base, write_configuration
from benchmarks.year.counts import ask_questions, count, prune
from benchmarks.year.ground import Ground
from benchmarks.year.incidents.incident import last_words
from benchmarks.year.journal import WeekRecord
from benchmarks.year.outcome import Outcome, grade
from benchmarks.year.scene import Scene
from benchmarks.year.servers import Servers
from benchmarks.year.size import Size
from benchmarks.year.year import Year, stored_megabytes

ROOT = Path(__file__).parents[2]


def live(
    folder: Path,
    size: Size,
    *,
    seed: int,
    weeks: int,
    until: int,
    stack: bool,
    costly: bool,
    away_seconds: float,
    tell: Callable[[WeekRecord], None],
) -> Outcome:
    """Live the weeks that are not over yet, then count.

    Args:
        folder: of the year; what it holds is not done again.
        size: of the year.
        seed: of world and incidents.
        weeks: after the one in which the team begins.
        until: the last week that is lived now, of those meant; what is over is counted.
        stack: whether on the servers of `make up`, or with a local registry.
        costly: whether only what may cost gold goes wrong.
        away_seconds: how long what is away stays away.
        tell: is told of each week once it is over.
    """
    folder.mkdir(parents=True, exist_ok=True)
    make_base(size.base, folder / "base", seed)
    write_configuration(size, folder, seed)
    ground: Ground = Servers(folder) if stack else Alone(folder)
    incidents = draw(weeks, seed, stack=stack, costly=costly)
    ground.begin()
    try:
        scene = Scene(ground, size, seed, away_seconds=away_seconds)
        year = Year(scene, incidents, weeks)
        for record in year.live(until):
            tell(record)
        counts, questions = count(ground), ask_questions(ground)
        if until >= weeks:  # what a year still goes on with stays
            prune(ground)
    finally:
        left = ground.end()
    records = year.journal.read()
    return Outcome(
        seed=seed,
        weeks=weeks,
        size=size.name,
        stack=stack,
        costly=costly,
        commit=_commit(),
        machine=machine(),
        records=tuple(_in_short(record, folder) for record in records.values()),
        incidents=grade(incidents, records),
        counts=counts,
        questions=questions,
        processes_left=tuple(left),
        megabytes_after=stored_megabytes(folder) if until >= weeks else None,
    )


def _in_short(record: WeekRecord, folder: Path) -> WeekRecord:
    """A week with the sentence alone in which each climb said how it ended, and no name of where it took place."""
    tries = (each.model_copy(update={"said": last_words(each.said).replace(str(folder), "")}) for each in record.tries)
    return record.model_copy(update={"tries": tuple(tries)})


def _commit() -> str:
    return subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
