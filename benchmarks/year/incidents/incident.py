"""What all incidents share: when they come, what they may do to a week, and the words of their grades."""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

from benchmarks.year.ground import Ground
from benchmarks.year.journal import WeekRecord
from benchmarks.year.scene import Scene
from benchmarks.year.world import Person

When = Literal["before training", "before promotion", "at once", "later", "never", "not yet over"]
"""When an incident was noticed; `at once` is of those that are no matter of data."""
Weeks = Mapping[int, WeekRecord]


class Notice(NamedTuple):
    """Whether an incident was noticed, and by what.

    Attributes:
        ended_well: whether what it broke was whole again.
    """

    when: When
    how: str
    ended_well: bool = True


class Incident(ABC):
    """Something that goes wrong in a week; this one does nothing.

    Args:
        week: in which it begins.
        seed: of the year.
    """

    name: ClassVar[str] = ""
    may_cost_gold: ClassVar[bool] = False
    needs_stack: ClassVar[bool] = False
    lasts: ClassVar[int] = 0
    """Weeks that it needs after its own."""
    joins: ClassVar[tuple[Person, ...]] = ()
    """Who labels from this week on, beside the honest ones."""
    settings: ClassVar[Mapping[str, Any]] = {}
    """Of the climbs of its week."""

    def __init__(self, week: int, seed: int) -> None:
        self.week = week
        self.rng = random.Random(f"{self.name} {seed} {week}")
        self.seed = seed

    def begin(self, scene: Scene, week: int) -> dict[str, Any]:
        """What happens at the beginning of any week, before new files land; notes of it."""
        del scene, week
        return {}

    def land(self, scene: Scene) -> None:
        """Files that land in its week, or are not what they should be."""
        del scene

    def repair(self, scene: Scene) -> bool:
        """What people do once a climb of its week was refused or stopped; whether they climb again."""
        del scene
        return False

    def settings_for(self, scene: Scene) -> Mapping[str, Any]:
        """Settings of the climbs of its week."""
        del scene
        return self.settings

    def disturbance(self, scene: Scene) -> Callable[[Ground], None] | None:
        """What happens while the first climb of its week trains."""
        del scene
        return None

    def end(self, scene: Scene) -> dict[str, Any]:
        """What happens at the end of its week, after the review; notes of it."""
        del scene
        return {}

    @abstractmethod
    def grade(self, weeks: Weeks) -> Notice:
        """Whether it was noticed.

        Args:
            weeks: those that are over.
        """


def stopped(weeks: Weeks, week: int, until: int) -> Notice | None:
    """The first climb in some weeks that data or gates stopped, as a notice.

    Args:
        weeks: those that are over.
        week: the first one.
        until: the last one.
    """
    for number in range(week, until + 1):
        for each in weeks[number].tries if number in weeks else ():
            when: When = "later" if number > week else "before promotion" if each.made else "before training"
            if each.ending in ("refused", "gate"):
                return Notice(when, f"week {number}, {each.ending}: {last_words(each.said)}")
    return None


def last_words(said: str) -> str:
    """The sentence in which a climb says why it stopped, in one line."""
    lines = [line.strip(" │") for line in said.splitlines()]
    found = [line for line in lines if line.startswith(("error", "stopped by", "refused")) or "StoppedByGate" in line]
    return next(iter(found), next((line for line in reversed(lines) if line), ""))[:160]
