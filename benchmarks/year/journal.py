"""What is remembered of every week, in a file each, so that a year goes on after the machine was restarted."""

from pathlib import Path
from typing import Any

from benchmarks.year.ground import Ending
from rlhf_core.config import Frozen
from rlhf_core.metrics.estimates import Estimate


class Try(Frozen):
    """A climb of a week, as `Climbed` tells it.

    Attributes:
        name: which try it was.
        made: stages with a new version.
        suspects: annotators against whom the report of labels says something, and what.
        sources: files against which it does.
    """

    name: str
    ending: Ending
    said: str
    made: tuple[str, ...]
    suspects: dict[str, str] = {}
    sources: dict[str, str] = {}
    seconds: float
    cpu_seconds: float


class WeekRecord(Frozen):
    """A week that is over.

    Attributes:
        tries: climbs, the first one first.
        made: new versions by stage.
        newest: the newest policy, whatever the gates said of it; empty where there is none yet.
        promoted: versions that became champion in the review, and by which way.
        champions: by stage, at the end of the week.
        worth: gold reward of a policy by arm, weighted as people ask in this week.
        change: gold reward of the policy that became champion over the one before; None where none did.
        missed: gold reward of the newest policy over the champion; None where they are one.
        made_better: gold reward of the policy that this week made over the newest before; None where it made none.
        labels: votes that lie in the inbox.
        megabytes: of the storage folder.
        notes: what incidents leave for their grading, by name.
    """

    week: int
    tries: tuple[Try, ...]
    made: dict[str, list[str]]
    newest: str
    promoted: dict[str, str]
    champions: dict[str, str]
    worth: dict[str, float] = {}
    change: Estimate | None = None
    missed: Estimate | None = None
    made_better: Estimate | None = None
    labels: int
    megabytes: float
    notes: dict[str, dict[str, Any]] = {}

    @property
    def policy_made(self) -> str:
        """The policy that this week made; empty where it made none."""
        return next(reversed(self.made.get("policy", [])), "")


class Journal:
    """The weeks of a year.

    Args:
        folder: of the files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self) -> dict[int, WeekRecord]:
        """All weeks that are over."""
        found = map(WeekRecord.model_validate_json, (path.read_text("utf-8") for path in self._folder.glob("*.json")))
        return {record.week: record for record in sorted(found, key=lambda record: record.week)}

    def write(self, record: WeekRecord) -> None:
        """Keep a week, whole."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{record.week:02d}.json"
        path.with_suffix(".part").write_text(record.model_dump_json(indent=1), encoding="utf-8")
        path.with_suffix(".part").replace(path)
