"""When what goes wrong: weeks of incidents, drawn from the seed."""

import random
from collections.abc import Sequence

from benchmarks.year.incidents.batches import (
    FlippedVendor,
    HeldOutCopies,
    LengthLovers,
    OldGuideline,
    OneTopic,
    RandomAnnotator,
)
from benchmarks.year.incidents.changes import CodeChanged, CodeTouched, RewardHack, TenfoldRate
from benchmarks.year.incidents.files import CutFile, OtherEncoding, RenamedColumn
from benchmarks.year.incidents.incident import Incident
from benchmarks.year.incidents.late import LateFinding
from benchmarks.year.incidents.machines import DiskFull, MlflowAway, PostgresRestarted, Rebooted, WorkerKilled
from benchmarks.year.incidents.people import Forced, TwoPromote
from benchmarks.year.world import HONEST, Person

KINDS: tuple[type[Incident], ...] = (
    *(FlippedVendor, LengthLovers, RandomAnnotator, OldGuideline, HeldOutCopies),
    *(CutFile, OtherEncoding, RenamedColumn, OneTopic),
    *(WorkerKilled, PostgresRestarted, MlflowAway, DiskFull, Rebooted),
    *(TwoPromote, Forced),
    *(TenfoldRate, RewardHack, CodeTouched, CodeChanged),
    LateFinding,
)
"""All that goes wrong in a year."""
SHORT: tuple[type[Incident], ...] = (LateFinding, CutFile, WorkerKilled, TwoPromote, Forced)
"""What goes wrong where there are only a few weeks; on the stack, what only servers have fills the other weeks."""
SOON = 2
"""Weeks after which a bad batch is found out where there are only a few."""


def draw(weeks: int, seed: int, *, stack: bool, costly: bool = False) -> list[Incident]:
    """Incidents in the order of their weeks, one a week at most.

    Args:
        weeks: of the year.
        seed: of the draw.
        stack: whether there are servers to disturb.
        costly: whether only what may cost gold goes wrong.

    Raises:
        ValueError: if the weeks are too few.
    """
    rng = random.Random(f"calendar {seed}")
    kinds = [kind for kind in KINDS if stack or not kind.needs_stack]
    if costly:
        kinds = [kind for kind in kinds if kind.may_cost_gold]
    elif weeks <= len(KINDS):
        kinds = [*SHORT, *[kind for kind in kinds if kind.needs_stack][: max(weeks - len(SHORT), 0)]]
    if weeks < len(kinds):
        raise ValueError(f"{len(kinds)} incidents need as many weeks, and there are {weeks}")
    free, drawn = set(range(1, weeks + 1)), list[Incident]()
    for kind in sorted(kinds, key=lambda each: -each.lasts):
        lasts = kind.lasts if weeks > len(KINDS) else min(kind.lasts, SOON)
        week = rng.choice(sorted(week for week in free if week + lasts <= weeks))
        free.discard(week)
        incident = kind(week, seed)
        incident.lasts = lasts  # type: ignore[misc]
        drawn.append(incident)
    return sorted(drawn, key=lambda incident: incident.week)


def labellers(incidents: Sequence[Incident], weeks: int) -> dict[int, Sequence[Person]]:
    """Who labels in each week: the honest ones, and those who have joined."""
    return {
        week: (*HONEST, *(person for each in incidents if each.week <= week for person in each.joins))
        for week in range(1, weeks + 1)
    }
