"""The late finding: a batch turns out to be bad weeks after it went into what runs."""

import re
from pathlib import Path
from typing import Any

from benchmarks.year.inbox import TABLES, take_out
from benchmarks.year.incidents.batches import Batch
from benchmarks.year.incidents.incident import Notice, Weeks
from benchmarks.year.journal import Journal
from benchmarks.year.registry import holders, look
from benchmarks.year.reviewer import configured, roll_back
from benchmarks.year.scene import Scene
from flows.registry.names import CHAMPION, GATED

FLIPPED = 0.3
"""Share of the batch whose labels are the wrong way round: too few for a gate to see."""
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
        """Once it is known: what has it, back to what has it not, withdraw it, and climb again."""
        if week != self.week + self.lasts:
            return {}
        batch = f"pairs/{self.batch}"
        grade = scene.book.grade(batch, versions_with(scene, f"{batch}.csv"))
        touched = sorted(stage for stage, version in scene.book.newest.items() if version in scene.book.having(batch))
        champions = {stage: self._return(scene, stage, batch) for stage in GATED}
        way = withdraw(scene, "pairs", self.batch)
        again = scene.climb(f"week-{week:02d}-withdrawn", {})
        return {
            "named": grade._asdict(),
            "champions": champions,
            "withdrawn": way,
            "touched": touched,
            "retrained": sorted(again.made),
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
        well = not (named["missed"] or named["too_many"] or wrong) and notes["touched"] == notes["retrained"]
        how = (
            f"{len(named['right'])} versions named, {len(named['missed'])} missed, {len(named['too_many'])} too many; "
            f"champions not as in the book: {', '.join(wrong) or 'none'}; retrained {', '.join(notes['retrained'])} "
            f"of {', '.join(notes['touched'])}; {notes['withdrawn']}"
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


def versions_with(scene: Scene, source: str) -> set[str]:
    """Versions that the pipeline names as made from a file: `rlhf impact` of every snapshot with a row of it."""
    named: set[str] = set()
    for digest in _snapshots_with(scene.storage, source):
        said = scene.ground.rlhf("impact", f"dataset:{digest}", *configured(scene.ground))
        if said.code:
            raise RuntimeError(f"rlhf impact dataset:{digest}: {said.text}")
        named |= set(re.findall(r"^\s*(year-[a-z-]+/\d+)\s", said.text, flags=re.MULTILINE))
    return named


def withdraw(scene: Scene, table: str, batch: str) -> str:
    """Have nobody learn from a batch any more; by which way."""
    take_out(scene.inbox, table, batch)
    return "its file was taken out"


def _snapshots_with(storage: Path, source: str) -> list[str]:
    """Digests of the snapshots of pairs that have rows of a file."""
    import pyarrow.compute as compute  # noqa: PLC0415  nothing else here needs them
    import pyarrow.parquet as parquet  # noqa: PLC0415

    paths = sorted((storage / "snapshots" / TABLES["pairs"]).glob("*.parquet"))
    return [
        path.stem
        for path in paths
        if compute.any(compute.equal(parquet.read_table(path, columns=["source"])["source"], source)).as_py()
    ]
