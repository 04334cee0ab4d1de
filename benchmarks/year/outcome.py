"""What came of a year, as it lies in the results."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from benchmarks.year.incidents.incident import Incident
from benchmarks.year.incidents.people import Forced
from benchmarks.year.journal import WeekRecord
from benchmarks.year.world import HONEST
from rlhf_core.config import Frozen
from rlhf_core.metrics.estimates import Estimate

OVER = ("done", "nothing new", "gate", "refused")


class Row(Frozen):
    """An incident and its grade.

    Attributes:
        when: it was noticed.
        gold: that of the policy which its week made over the newest before; None where it made none.
        well: whether all was whole again.
    """

    name: str
    week: int
    may_cost_gold: bool
    when: str
    how: str
    well: bool
    gold: Estimate | None = None


class Outcome(Frozen):
    """A year that is over, or was cut.

    Attributes:
        weeks: asked for; those that are over are in `records`.
        size: small, or tiny, whose climbs learn nothing.
        stack: whether it took place on servers.
        costly: whether only what may cost gold went wrong.
        counts: as `counts.count` gives them, at the end.
        questions: as `counts.ask_questions` gives them.
        megabytes_after: of storage after `rlhf prune`.
    """

    seed: int
    weeks: int
    size: Literal["small", "tiny"] = "small"
    stack: bool
    costly: bool = False
    commit: str
    machine: dict[str, Any]
    records: tuple[WeekRecord, ...]
    incidents: tuple[Row, ...]
    counts: dict[str, Any] = {}
    questions: dict[str, dict[str, float]] = {}
    processes_left: tuple[str, ...] = ()
    megabytes_after: float | None = None

    @property
    def title(self) -> str:
        """What tells it from other years."""
        where = "on the stack" if self.stack else "no servers"
        what = ", what may cost gold only" if self.costly else ""
        return f"seed {self.seed}, {self.weeks} weeks, {self.size}, {where}{what}"

    @property
    def file(self) -> str:
        """What its file is called."""
        costly = "-costly" if self.costly else ""
        return f"year-{self.seed}-{self.size}-{'stack' if self.stack else 'alone'}{costly}.json"

    def harmful(self) -> list[int]:
        """Weeks that made a worse policy champion, beyond chance; those of the forced one do not count."""
        forced = {row.week for row in self.incidents if row.name == Forced.name}
        return [
            record.week
            for record in self.records
            if record.change and record.change.upper < 0 and not forced & {record.week, record.week - 1}
        ]

    def not_promoted(self) -> list[int]:
        """Weeks at whose end the newest policy was better than the champion, beyond chance."""
        return [record.week for record in self.records if record.missed and record.missed.lower > 0]

    def accused(self) -> list[str]:
        """Honest annotators against whom anything was ever said."""
        said = {name for record in self.records for each in record.tries for name in each.suspects}
        return sorted(said & {person.name for person in HONEST})

    def never_noticed(self) -> list[Row]:
        """Incidents that may cost gold and were never noticed."""
        return [row for row in self.incidents if row.may_cost_gold and row.when == "never"]

    def batches_named(self) -> list[str]:
        """Files against which anything was ever said, but for those of incidents."""
        named = {name for record in self.records for each in record.tries for name in each.sources}
        return sorted(name for name in named if Path(name).stem.startswith(("week-", "answers-")))

    def problems(self) -> list[str]:
        """What must not be, in words; empty where all is well."""
        counted = ("runs unfinished", "steps logged twice", "versions made twice", "aliases wrong")
        return [
            *(f"week {week}: a worse policy became champion" for week in self.harmful()),
            *(f"{row.name}: {row.how}" for row in self.incidents if not row.well),
            *(f"{name}: {self.counts[name]}" for name in counted if self.counts.get(name)),
            *(f"{name} was accused, and is honest" for name in self.accused()),
            *self.processes_left,
        ]

    def mean_worth(self, arm: str) -> float:
        """Mean gold reward over the weeks, of which each arm has one from the first promotion on."""
        found = [record.worth[arm] for record in self.records if arm in record.worth]
        return sum(found) / len(found) if found else float("nan")


def grade(incidents: Sequence[Incident], records: Mapping[int, WeekRecord]) -> tuple[Row, ...]:
    """The incidents whose week is over, each with its grade."""
    rows = []
    for incident in incidents:
        if incident.week in records:
            notice = incident.grade(records)
            rows.append(
                Row(
                    name=incident.name,
                    week=incident.week,
                    may_cost_gold=incident.may_cost_gold,
                    when=notice.when,
                    how=notice.how,
                    well=notice.ended_well,
                    gold=records[incident.week].made_better,
                )
            )
    return tuple(rows)


def read_outcomes(folder: Path) -> list[Outcome]:
    """The years of a folder of results, the longest first."""
    found = [Outcome.model_validate(json.loads(path.read_text("utf-8"))) for path in folder.glob("year-*.json")]
    return sorted(found, key=lambda outcome: (-outcome.weeks, outcome.seed, outcome.size))


def write_outcome(outcome: Outcome, path: Path) -> None:
    """Put a year in the place of what was known of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".part").write_text(outcome.model_dump_json(indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".part").replace(path)
