"""The year, week by week: files land, the ladder is climbed, a person promotes, and all is written down."""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.year.calendar import labellers
from benchmarks.year.inbox import land, take_out
from benchmarks.year.incidents.incident import Incident
from benchmarks.year.journal import Journal, Try, WeekRecord
from benchmarks.year.registry import holders, label, look
from benchmarks.year.reviewer import review
from benchmarks.year.scene import Scene
from benchmarks.year.world import HONEST, Delivery, deliveries, draw_prompts, mood
from benchmarks.year.world import label as labelled
from flows.registry.names import CHAMPION, GATED

TRIES = 4
"""Climbs of a week at most."""

Kept = TypeVar("Kept")


class Year:
    """A year on its way; what is over is not done again.

    Args:
        scene: where and how large.
        incidents: what goes wrong.
        weeks: how many there are, after the one in which the team begins.
    """

    def __init__(self, scene: Scene, incidents: Sequence[Incident], weeks: int) -> None:
        self.scene, self.incidents, self.weeks = scene, incidents, weeks
        self.journal = Journal(scene.ground.folder / "weeks")
        self._people = labellers(incidents, weeks)
        self._deliveries = deliveries(scene.size, scene.seed, weeks, people=self._people)

    def live(self, until: int) -> Iterator[WeekRecord]:
        """Live all weeks that are not over, up to one; yields each once it is."""
        for week in range(min(until, self.weeks) + 1):
            if week not in self.journal.read():
                record = self._week(week)
                self.journal.write(record)
                yield record

    def _week(self, week: int) -> WeekRecord:
        scene, due = self.scene, [incident for incident in self.incidents if incident.week == week]
        notes = {each.name: self._once(f"{week}-begin-{each.name}", each.begin, scene, week) for each in self.incidents}
        before = self._once(f"{week}-before", lambda: [holders(look(), CHAMPION), look()["policy"].versions])
        land(scene.inbox, self._deliveries[week])
        for incident in due:
            incident.land(scene)
        tries = list(self._climbs(week, due))
        scene.exclude(name for each in tries for name in each.suspects)
        promoted = self._once(f"{week}-review", self._review, week)
        for incident in due:
            notes[incident.name] = {
                **notes[incident.name],
                **self._once(f"{week}-end-{incident.name}", incident.end, scene),
            }
        self._hand_out(week)
        return self._record(week, tries, promoted, before, {name: note for name, note in notes.items() if note})

    def _climbs(self, week: int, due: Sequence[Incident]) -> Iterator[Try]:
        """Climbs of a week: again after a crash, once more after people mended what was refused, stopped or named."""
        scene, repaired = self.scene, False
        settings = {field: value for each in due for field, value in each.settings_for(scene).items()}
        disturb = next(filter(None, (each.disturbance(scene) for each in due)), None)
        for number in range(1, TRIES + 1):
            name = f"week-{week:02d}-{number}"
            kept = self._once(name, _climb, scene, name, settings, disturb if number == 1 else None)
            done = Try.model_validate(kept)
            yield done
            if done.ending == "crashed":
                continue
            if repaired or not self._mend(done, due):
                return
            repaired = True

    def _mend(self, done: Try, due: Sequence[Incident]) -> bool:
        """What people do once a climb was refused or stopped, or its report named files; whether they climb again."""
        if done.ending in ("refused", "gate"):
            return any([each.repair(self.scene) for each in due])
        batches = self._once(f"{done.name}-named", self.scene.lying, done.sources)
        for batch in batches:
            take_out(self.scene.inbox, "pairs", batch)
        return bool(batches)

    def _review(self, week: int) -> dict[str, str]:
        """Promote up to the reward model, let the policy run that this starts come to its end, then the policy."""
        ground = self.scene.ground
        promoted = review(ground, week, GATED[:2])
        self.scene.settle()
        return promoted | review(ground, week, GATED[2:])

    def _hand_out(self, week: int) -> None:
        """Have answers of the champion labelled, which land with the next week's files."""
        scene = self.scene
        champion, rng = holders(look(), CHAMPION).get("policy"), random.Random(f"answers {scene.seed} {week}")
        path = scene.inbox / "pairs" / f"answers-{week + 1:02d}.csv"
        if champion is None or week == self.weeks or path.exists():
            return
        prompts = draw_prompts(scene.size.rounds, mood(week, scene.seed), rng)
        first, second = (scene.gold.answers(champion, prompts, seed) for seed in (2 * week, 2 * week + 1))
        people = self._people.get(week, HONEST)
        rows = [
            row
            for prompt, (one, _), (other, _) in zip(prompts, first, second, strict=True)
            if one.strip() and other.strip() and one != other
            for row in labelled(prompt, one, other, people, rng)
        ]
        if rows:
            land(scene.inbox, Delivery(path.stem, [], rows, []))

    def _record(
        self,
        week: int,
        tries: Sequence[Try],
        promoted: Mapping[str, str],
        before: Any,
        notes: dict[str, dict[str, Any]],
    ) -> WeekRecord:
        scene, (champions_before, policies_before) = self.scene, before
        models, asked = look(), mood(week, scene.seed)
        champions = holders(models, CHAMPION)
        policies = [label("policy", number) for number in models["policy"].versions]
        newest, champion = next(reversed(policies), ""), champions.get("policy", "")
        old, first = champions_before.get("policy", ""), self._first_champion(champion)
        last = label("policy", policies_before[-1]) if policies_before else ""
        arms = {"champion": champion, "without gates": newest, "never again": first}
        return WeekRecord(
            week=week,
            tries=tuple(tries),
            made={"policy": policies[len(policies_before) :]},
            newest=newest,
            promoted=dict(promoted),
            champions=champions,
            worth={arm: scene.gold.worth(version, asked) for arm, version in arms.items() if version},
            change=scene.gold.gain(champion, old, asked) if champion and old and champion != old else None,
            missed=scene.gold.gain(newest, champion, asked) if champion and newest != champion else None,
            made_better=scene.gold.gain(newest, last, asked) if last and newest != last else None,
            labels=sum(path.read_bytes().count(b"\n") - 1 for path in (scene.inbox / "pairs").glob("*.csv")),
            megabytes=stored_megabytes(scene.ground.folder),
            notes=notes,
        )

    def _first_champion(self, now: str) -> str:
        """The policy that a team runs which never retrains."""
        return next(
            (record.champions["policy"] for record in self.journal.read().values() if "policy" in record.champions), now
        )

    def _once(self, step: str, work: Callable[..., Kept], *given: Any) -> Kept:
        """What a step of a week came to, done now or before this machine was restarted."""
        path: Path = self.scene.ground.folder / "steps" / f"{step.replace(' ', '-').replace(':', '')}.json"
        if path.exists():
            kept: Kept = json.loads(path.read_text(encoding="utf-8"))
            return kept
        done = work(*given)
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".part").write_text(json.dumps(done), encoding="utf-8")
        path.with_suffix(".part").replace(path)
        return done


def _climb(scene: Scene, *given: Any) -> dict[str, Any]:
    return scene.climb(*given).model_dump(mode="json")


def stored_megabytes(folder: Path) -> float:
    """What storage and artifacts of a year take on the disk, its databases not counted."""
    places = (folder / "storage", folder / "stack" / "artifacts")
    files = (path for place in places for path in place.rglob("*") if path.is_file())
    return round(sum(path.stat().st_size for path in files) / 1e6, 1)
