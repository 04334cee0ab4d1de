"""Batches of labels that are worse than they look, and people who label badly."""

from collections.abc import Sequence
from typing import Any, ClassVar

from benchmarks.year.inbox import TABLES, land, take_out
from benchmarks.year.incidents.incident import Incident, Notice, Weeks, stopped
from benchmarks.year.scene import Scene
from benchmarks.year.world import HONEST, Delivery, Person, compare, draw_prompts, mood
from flows.config.data import Shares
from flows.data.splits import split_by_group
from rlhf_core.embedded_world import grammar
from rlhf_core.embedded_world.annotators import AnnotatorConfig

PATIENCE = 4
"""Weeks after which a stop is no longer laid to an incident."""


class Batch(Incident):
    """A batch that lands beside the usual one of its week."""

    may_cost_gold = True
    people: ClassVar[Sequence[Person]] = HONEST

    @property
    def batch(self) -> str:
        """Its name."""
        return f"{self.name.split()[0]}-{self.week:02d}"

    def rows(self, scene: Scene) -> list[dict[str, Any]]:
        """Its votes."""
        prompts = draw_prompts(scene.size.vendor, mood(self.week, self.seed), self.rng)
        return compare(prompts, 3, self.people, self.rng)

    def land(self, scene: Scene) -> None:
        """It lands."""
        land(scene.inbox, Delivery(self.batch, [], self.rows(scene), []))

    def repair(self, scene: Scene) -> bool:
        """It is the first that is suspected, and taken out."""
        take_out(scene.inbox, "pairs", self.batch)
        return True

    def grade(self, weeks: Weeks) -> Notice:
        """A climb was stopped while it was there, or the report of labels names it."""
        notice = stopped(weeks, self.week, self.week + PATIENCE)
        return notice or self.named(weeks) or Notice("never", "it is in use")

    def named(self, weeks: Weeks) -> Notice | None:
        """The first week whose report of labels says something against it."""
        source = f"pairs/{self.batch}.csv"
        for week in sorted(week for week in weeks if week >= self.week):
            said = [each.sources[source] for each in weeks[week].tries if source in each.sources]
            if said:
                return Notice("before promotion" if week == self.week else "later", f"week {week}, named: {said[0]}")
        return None


class FlippedVendor(Batch):
    """A vendor's columns are the wrong way round."""

    name = "vendor batch with labels flipped"
    people = (Person("vendor"),)

    def rows(self, scene: Scene) -> list[dict[str, Any]]:
        """The other one is called better."""
        return [{**row, "better": "ab"[row["better"] == "a"]} for row in super().rows(scene)]


class OldGuideline(Batch):
    """Labelled by a guideline of last year, which liked praise and length."""

    name = "old guideline for a batch"
    people = tuple(
        person._replace(habits=AnnotatorConfig(length_bias=1.0, flattery_bias=3.0, careless_share=0.02))
        for person in HONEST
    )


class HeldOutCopies(Batch):
    """Rows of the held-out prompts come back as new ones, in capitals and with other white space."""

    name = "copies of the test set"
    may_cost_gold = False

    def rows(self, scene: Scene) -> list[dict[str, Any]]:
        """Labels of other people on prompts that the split holds out."""
        prompts = sorted(grammar.prompts())
        splits = split_by_group(prompts, Shares(**scene.size.settings["shares"]), judge=True)
        held_out = [prompt for prompt, split in zip(prompts, splits, strict=True) if split == "test"]
        return compare(self.rng.sample(held_out, scene.size.vendor // 2), 3, HONEST, self.rng)

    def end(self, scene: Scene) -> dict[str, Any]:
        """Look whether any row of the batch is trained on."""
        return {"trained_on": trained_rows(scene, f"pairs/{self.batch}.csv")}

    def grade(self, weeks: Weeks) -> Notice:
        """The split keeps them where their prompts are."""
        if self.week not in weeks:
            return Notice("not yet over", "")
        rows = weeks[self.week].notes[self.name]["trained_on"]
        return Notice("never" if rows else "before training", f"{rows} of its rows are trained on", rows == 0)


class Joining(Incident):
    """Somebody joins who labels badly, and stays."""

    may_cost_gold = True

    def grade(self, weeks: Weeks) -> Notice:
        """The report of annotators names them, or a climb was stopped while they were new."""
        names = {person.name for person in self.joins}
        for week in sorted(week for week in weeks if week >= self.week):
            if names <= {name for each in weeks[week].tries for name in each.suspects}:
                return Notice("before promotion" if week == self.week else "later", f"named in week {week}")
        return stopped(weeks, self.week, self.week + PATIENCE) or Notice("never", "they label on")


class LengthLovers(Joining):
    """Two people who like long answers."""

    name = "annotators who like length join"
    joins = tuple(Person(name, AnnotatorConfig(length_bias=2.0)) for name in ("gil", "hal"))


class RandomAnnotator(Joining):
    """One who clicks at random."""

    name = "annotator at random joins"
    joins = (Person("ivy", AnnotatorConfig(careless_share=1.0)),)


class OneTopic(Incident):
    """New prompts are of one topic only, and many."""

    name = "prompts of one topic"

    def land(self, scene: Scene) -> None:
        """They land."""
        thing = self.rng.choice(grammar.THINGS).name
        known = sorted(prompt for prompt, request in grammar.prompts().items() if request.thing == thing)
        rows = [{"prompt": prompt} for prompt in self.rng.sample(known, min(scene.size.stock.prompts, len(known)))]
        land(scene.inbox, Delivery(self.batch, [], [], rows))

    @property
    def batch(self) -> str:
        """Its name."""
        return f"topic-{self.week:02d}"

    def repair(self, scene: Scene) -> bool:
        """They are taken out."""
        take_out(scene.inbox, "prompts", self.batch)
        return True

    def grade(self, weeks: Weeks) -> Notice:
        """A gate of the data stopped the climb."""
        return stopped(weeks, self.week, self.week + PATIENCE) or Notice("never", "the policy learned from them")


def trained_rows(scene: Scene, source: str) -> int:
    """Rows of a file that stand in a training split of any snapshot of the pairs."""
    import pyarrow.parquet as parquet  # noqa: PLC0415  nothing else here needs it

    assert TABLES["pairs"] == "preferences"
    found = 0
    for path in (scene.storage / "snapshots" / "preferences").glob("*.parquet"):
        table = parquet.read_table(path, columns=["source", "split"]).to_pandas()
        found = max(found, int(((table["source"] == source) & (table["split"] != "test")).sum()))
    return found
