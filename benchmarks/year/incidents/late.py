"""The late finding: a batch turns out to be bad weeks after it went into what runs."""

import json
import re
from typing import Any

from benchmarks.year.incidents.batches import Batch
from benchmarks.year.incidents.incident import Notice, Weeks
from benchmarks.year.journal import Journal
from benchmarks.year.registry import holders, look, new_versions
from benchmarks.year.reviewer import configured, roll_back
from benchmarks.year.scene import Scene
from flows.registry.names import CHAMPION, GATED

FLIPPED = 0.3
"""Share of the batch whose labels are the wrong way round: too few for a gate to see."""
WHY = "the vendor says that part of it was labelled the wrong way round"
TIMES = 60
"""Roll-backs at most until a champion is without the batch."""


class LateFinding(Batch):
    """A vendor admits weeks later that part of a batch was labelled the wrong way round."""

    name = "late finding of a bad batch"
    lasts = 6
    people = Batch.people

    def rows(self, scene: Scene) -> list[dict[str, Any]]:
        """Every third label or so is wrong."""
        flip = {"a": "b", "b": "a"}
        return [
            {**row, "better": flip[row["better"]]} if self.rng.random() < FLIPPED else row
            for row in super().rows(scene)
        ]

    def repair(self, scene: Scene) -> bool:
        """Nobody suspects it yet."""
        return False

    def begin(self, scene: Scene, week: int) -> dict[str, Any]:
        """Once it is known: what has it, withdraw it, back to what has it not, and climb again."""
        if week != self.week + self.lasts:
            return {}
        batch, before = f"pairs/{self.batch}", scene.before(f"week-{week:02d}-withdrawing")
        grade = scene.book.grade(batch, versions_with(scene, batch))
        touched = sorted(stage for stage, version in scene.book.newest.items() if version in scene.book.having(batch))
        marked = scene.book.grade(batch, withdraw(scene, batch))
        champions = {stage: self._return(scene, stage, batch) for stage in GATED}
        again = scene.climb(f"week-{week:02d}-withdrawn", {})
        retrained = [stage for stage, labels in new_versions(before).items() if labels]
        return {
            "named": grade._asdict(),
            "champions": champions,
            "marked": marked._asdict(),
            "touched": touched,
            "retrained": sorted(retrained),  # by the climb, or by the policy run that a roll-back started
            "ending": again.ending,
        }

    def grade(self, weeks: Weeks) -> Notice:
        """Versions, champions and retrained stages are exactly the book's."""
        week = self.week + self.lasts
        if week not in weeks:
            return Notice("not yet over", "")
        notes = weeks[week].notes[self.name]
        named, champions = notes["named"], notes["champions"]
        wrong = [stage for stage, (now, wanted) in champions.items() if now != wanted]
        lists = (grade[key] for grade in (named, notes["marked"]) for key in ("missed", "too_many"))
        well = not (any(lists) or wrong) and notes["touched"] == notes["retrained"]
        how = (
            f"{len(named['right'])} versions named, {len(named['missed'])} missed, {len(named['too_many'])} too many; "
            f"{len(notes['marked']['right'])} of them marked; "
            f"champions not as in the book: {', '.join(wrong) or 'none'}; retrained {', '.join(notes['retrained'])} "
            f"of {', '.join(notes['touched'])}"
        )
        return Notice("later", how, well)

    def _return(self, scene: Scene, stage: str, batch: str) -> tuple[str, str]:
        """Roll a champion back until it has not the batch; who is champion then, and who should be."""
        having = scene.book.having(batch)
        name = f"year-{stage}"
        for _ in range(TIMES):
            if holders(look(), CHAMPION).get(stage, "") not in having:
                break
            if not roll_back(scene.ground, name, f"{batch} is bad"):
                break
            scene.settle()  # each champion among the reward models starts a policy
        champions = [
            record.champions.get(stage, "") for record in Journal(scene.ground.folder / "weeks").read().values()
        ]
        wanted = next((version for version in reversed(champions) if version not in having), "")
        return holders(look(), CHAMPION).get(stage, ""), wanted


def versions_with(scene: Scene, batch: str) -> set[str]:
    """Versions that `rlhf impact` names as made from a batch.

    Raises:
        RuntimeError: if it does not answer.
    """
    said = scene.ground.rlhf("impact", _source(batch), *configured(scene.ground))
    if said.code:
        raise RuntimeError(f"rlhf impact: {said.text}")
    return _labels(said.text)


def withdraw(scene: Scene, batch: str) -> set[str]:
    """Have nobody learn from a batch any more, unless that was done before a restart; the versions marked for it.

    Raises:
        RuntimeError: if it is not withdrawn.
    """
    said = scene.ground.rlhf("data", "withdraw", _source(batch), "--why", WHY, *configured(scene.ground))
    listed = scene.ground.rlhf("data", "withdrawals", "--json", *configured(scene.ground))
    rows = json.loads(listed.text) if listed.code == 0 else []
    marked = [row["versions"] for row in rows if f"{row['kind']}:{row['name']}" == _source(batch)]
    if not marked:
        raise RuntimeError(f"rlhf data withdraw: {said.text}")
    scene.withdraw(batch)
    return set(marked[-1])


def _source(batch: str) -> str:
    """A batch as the commands name the file that it came in."""
    return f"source:{batch}.csv"


def _labels(text: str) -> set[str]:
    """Versions that stand at the beginning of a line."""
    return set(re.findall(r"^\s*(year-[a-z-]+/\d+)(?:\s|$)", text, flags=re.MULTILINE))
