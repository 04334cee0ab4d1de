"""What a week and its incidents have to do with: the ground, the inbox, the book, and how climbs are made."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from benchmarks.year.book import Book
from benchmarks.year.gold import Gold
from benchmarks.year.ground import Ground
from benchmarks.year.inbox import batches_in
from benchmarks.year.journal import Try
from benchmarks.year.registry import holders, label, look, named_in_report, new_versions
from benchmarks.year.size import Size
from flows.registry.names import CHAMPION

EXCLUDE = "contract.raters.exclude"
"""Setting that names whose votes do not count."""
EDITION = "code"
"""Stands among the settings in the book for the edition of the code."""


class Scene:
    """A year on its way.

    Args:
        ground: where it takes place.
        size: how large it is.
        seed: of every draw.
        away_seconds: how long what is away stays away.
    """

    def __init__(self, ground: Ground, size: Size, seed: int, *, away_seconds: float = 60.0) -> None:
        self.ground, self.size, self.seed, self.away_seconds = ground, size, seed, away_seconds
        self.book = Book(ground.folder / "book.json")
        self.gold = Gold(ground.folder, size.asked, seed)

    @property
    def inbox(self) -> Path:
        """Where files land."""
        return self.ground.folder / "inbox"

    @property
    def storage(self) -> Path:
        """Where the project keeps what it makes."""
        return self.ground.folder / "storage"

    @property
    def withdrawn(self) -> set[str]:
        """Batches that nobody may learn from any more, though their files lie there."""
        return set(_words(self.ground.folder / "withdrawn"))

    def withdraw(self, batch: str) -> None:
        """Note that a batch was withdrawn."""
        text = "\n".join(sorted({*self.withdrawn, batch}))
        (self.ground.folder / "withdrawn").write_text(text, encoding="utf-8")

    def lay(self) -> dict[str, list[str]]:
        """The batches that a climb learns from now, by table."""
        gone = self.withdrawn
        return {
            table: [batch for batch in batches if f"{table}/{batch}" not in gone]
            for table, batches in batches_in(self.inbox).items()
        }

    def climb(self, name: str, settings: Mapping[str, object], disturb: Callable[[Ground], None] | None = None) -> Try:
        """Climb once, and enter into the book what came of it.

        Args:
            name: of this try.
            settings: dotted fields that are others than usual.
            disturb: what happens once a stage trains.
        """
        before, lay = self.before(name), self.lay()
        if self.excluded:
            settings = {**settings, EXCLUDE: self.excluded}
        climbed = self.ground.climb(name, settings, disturb)
        made = new_versions(before)
        self.book.enter(made, lay, {**settings, EDITION: self.edition()})
        stages = tuple(stage for stage, labels in made.items() if labels)
        return Try(
            name=name,
            ending=climbed.ending,
            said=climbed.said,
            made=stages,
            suspects=named_in_report("rater"),
            sources=named_in_report("source"),
            seconds=round(climbed.seconds, 1),
            cpu_seconds=round(climbed.cpu_seconds, 1),
        )

    @property
    def excluded(self) -> list[str]:
        """Annotators whose votes people have taken out."""
        return _words(self.ground.folder / "excluded")

    def exclude(self, names: Iterable[str]) -> None:
        """Take the votes of annotators out of all later climbs."""
        path = self.ground.folder / "excluded"
        path.write_text("\n".join(sorted({*self.excluded, *names})), encoding="utf-8")

    def lying(self, sources: Iterable[str]) -> list[str]:
        """Of files that the report of labels names, the batches that lie in the inbox."""
        return [Path(source).stem for source in sources if (self.inbox / source).exists()]

    def settle(self) -> None:
        """Wait for the policy run that a new champion among the reward models has started, and enter what it made."""
        self.ground.settle(holders(look(), CHAMPION).get("reward-model", ""))
        models = look()
        made = {stage: [label(stage, number) for number in model.versions] for stage, model in models.items()}
        self.book.enter_beside(made, self.lay(), holders(models, CHAMPION))

    def before(self, name: str) -> dict[str, list[int]]:
        """Versions that there were before a try or a step, as it was first looked at."""
        path = self.ground.folder / "steps" / f"{name}.before.json"
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps({stage: model.versions for stage, model in look().items()}), encoding="utf-8")
        kept: dict[str, list[int]] = json.loads(path.read_text(encoding="utf-8"))
        return kept

    def edition(self, *, next_one: bool = False) -> int:
        """How often the code was edited; with `next_one` once more."""
        path = self.ground.folder / "edition"
        number = int(path.read_text("utf-8")) if path.exists() else 0
        if next_one:
            path.write_text(str(number + 1), encoding="utf-8")
        return number


def _words(path: Path) -> list[str]:
    return path.read_text("utf-8").split() if path.exists() else []
