"""The simulator's own book of which batch went into which version; it never asks the registry what was made of what."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

READS: Mapping[str, tuple[str, ...]] = {
    "base": (),
    "sft": ("demonstrations",),
    "reward-model": ("pairs", "demonstrations"),
    "judge": ("pairs", "demonstrations"),
    "policy": ("prompts",),
    "value": ("prompts",),
}
"""Tables that a stage reads itself; parents come before their children."""
MADE_OF: Mapping[str, tuple[str, ...]] = {
    "base": (),
    "sft": ("base",),
    "reward-model": ("sft",),
    "judge": ("sft",),
    "policy": ("sft", "reward-model", "judge"),
    "value": ("sft", "reward-model", "judge"),
}
"""Stages whose models go into one."""


class Grade(NamedTuple):
    """What was named, held against the book.

    Attributes:
        missed: versions that have the batch and were not named.
        too_many: versions that were named and have it not.
    """

    right: list[str]
    missed: list[str]
    too_many: list[str]


class Book:
    """Batches by version, and what each stage came to from the same inputs before; in a file.

    Args:
        path: of the JSON.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        kept = json.loads(path.read_text("utf-8")) if path.exists() else {"versions": {}, "reached": {}, "newest": {}}
        self.versions: dict[str, list[str]] = kept["versions"]
        self.newest: dict[str, str] = kept["newest"]
        self._reached: dict[str, str] = kept["reached"]

    def enter(
        self, made: Mapping[str, list[str]], lay: Mapping[str, list[str]], settings: Mapping[str, object]
    ) -> None:
        """Enter what a climb came to, as far as it came.

        Args:
            made: labels of new versions, by stage.
            lay: batches that lay in the inbox when it began, by table.
            settings: of that climb, dotted, and the edition of the code.
        """
        reached: dict[str, str] = {}
        for stage, tables in READS.items():
            parents = [reached.get(parent, "") for parent in MADE_OF[stage]]
            own = {"batches": {table: lay[table] for table in tables}, "parents": parents, "of": _of(stage, settings)}
            key = f"{stage} {json.dumps(own, sort_keys=True)}"
            if new := made.get(stage, [])[-1:]:
                self._reached[key] = new[0]
            reached[stage] = self._reached.get(key, "")
            batches = {f"{table}/{batch}" for table in tables for batch in lay[table]}
            batches |= {batch for parent in parents for batch in self.versions.get(parent, ())}
            for label in made.get(stage, ()):
                self.versions[label] = sorted(batches)
        self.newest |= {stage: label for stage, label in reached.items() if label}
        self._write()

    def enter_beside(
        self, made: Mapping[str, list[str]], lay: Mapping[str, list[str]], given: Mapping[str, str]
    ) -> None:
        """Enter versions that no climb made, but a run that a promotion started.

        Args:
            made: labels of versions, by stage; those in the book already are left as they are.
            lay: batches that lay in the inbox, by table.
            given: labels of the champions that it started from, by stage.
        """
        parents = {**self.newest, **given}
        for stage, tables in READS.items():
            new = [label for label in made.get(stage, ()) if label not in self.versions]
            batches = {f"{table}/{batch}" for table in tables for batch in lay[table]}
            batches |= {batch for parent in MADE_OF[stage] for batch in self.versions.get(parents.get(parent, ""), ())}
            self.versions |= {label: sorted(batches) for label in new}
            if new:
                parents[stage] = new[-1]
        self._write()

    def having(self, batch: str) -> set[str]:
        """Versions that a batch went into, such as `pairs/vendor-07`."""
        return {label for label, batches in self.versions.items() if batch in batches}

    def grade(self, batch: str, named: Iterable[str]) -> Grade:
        """Hold what was named against what is so."""
        true, said = self.having(batch), set(named)
        return Grade(sorted(true & said), sorted(true - said), sorted(said - true))

    def _write(self) -> None:
        kept = {"versions": self.versions, "newest": self.newest, "reached": self._reached}
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(kept, indent=1), encoding="utf-8")
        part.replace(self._path)


def _of(stage: str, settings: Mapping[str, object]) -> dict[str, object]:
    """The settings that a stage depends on besides its parents: its own section, those of its data, and the code."""
    own = {"value": "policy"}.get(stage, stage).replace("-", "_")
    sections = {own, "code", *(["contract"] if "pairs" in READS[stage] else [])}
    return {field: value for field, value in settings.items() if field.partition(".")[0] in sections}
