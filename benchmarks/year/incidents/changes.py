"""Configurations and code that were changed."""

from pathlib import Path
from typing import Any, ClassVar

from benchmarks.year.incidents.batches import Batch
from benchmarks.year.incidents.incident import Incident, Notice, Weeks, stopped
from benchmarks.year.scene import Scene
from benchmarks.year.size import FREE
from benchmarks.year.world import Person
from rlhf_core.embedded_world.annotators import AnnotatorConfig


class TenfoldRate(Incident):
    """Somebody slips by a digit."""

    name = "learning rate ten times higher"
    may_cost_gold = True
    settings = {"reward_model.optimiser.lr": 1e-2, "policy.optimiser.lr": 1e-3}

    def grade(self, weeks: Weeks) -> Notice:
        """Gates stop it."""
        return stopped(weeks, self.week, self.week) or Notice("never", "its versions were promoted")


class RewardHack(Batch):
    """People who like length label a batch, and beta is too low."""

    name = "hack: length bias and beta too low"
    people = tuple(Person(name, AnnotatorConfig(length_bias=2.0)) for name in ("kim", "lou"))
    settings = FREE

    def repair(self, scene: Scene) -> bool:
        """The batch is taken out, and next week's configuration is the usual one again."""
        super().repair(scene)
        return False


class CodeEdited(Incident):
    """The code of a stage is edited after the week's climb, and the ladder is climbed again on the same data."""

    needs_stack = True
    before: ClassVar[str]
    after: ClassVar[str]
    place: ClassVar[str]

    def end(self, scene: Scene) -> dict[str, Any]:
        """Edit, climb.

        Raises:
            LookupError: if the code does not say any more what is to be edited.
        """
        path: Path = scene.ground.folder / "code" / self.place
        code = path.read_text(encoding="utf-8")
        if self.after not in code:
            if self.before not in code:
                raise LookupError(f"{self.place} does not say {self.before!r} any more")
            path.write_text(code.replace(self.before, self.after, 1), encoding="utf-8")
            scene.edition(next_one=True)
        again = scene.climb(f"week-{self.week:02d}-edited", {})
        return {"ending": again.ending, "made": again.made}


class CodeTouched(CodeEdited):
    """Only a comment is new."""

    name = "code change that changes nothing"
    place, before, after = "rlhf_core/sft.py", '"""Supervised', '# a comment\n"""Supervised'

    def grade(self, weeks: Weeks) -> Notice:
        """Whatever is trained again has the same weights; changed sources are never taken for the old ones."""
        if self.week not in weeks:
            return Notice("not yet over", "")
        notes = weeks[self.week].notes[self.name]
        return Notice("at once", f"{notes['ending']}; trained again: {', '.join(notes['made']) or 'nothing'}")


class CodeChanged(CodeEdited):
    """Rows are learned in another order."""

    name = "code change that changes results"
    place = "rlhf_core/training/loop.py"
    before, after = "epoch=epoch, seed=seed)", "epoch=epoch, seed=seed + 1)"

    def grade(self, weeks: Weeks) -> Notice:
        """All that is trained is trained again."""
        if self.week not in weeks:
            return Notice("not yet over", "")
        made = weeks[self.week].notes[self.name]["made"]
        well = {"sft", "reward-model"} <= set(made)
        return Notice("at once" if well else "never", f"trained again: {', '.join(made) or 'nothing'}", well)
