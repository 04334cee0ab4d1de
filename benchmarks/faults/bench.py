"""What all trials share: a folder of storages, one that nothing disturbed, and what came of each fault."""

import json
import random
import re
import shutil
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from benchmarks.faults.aftermath import Aftermath, Comparison, compare, lost_steps, read_aftermath
from benchmarks.faults.lives import Life, Lives, Moment

ROOT = Path(__file__).parents[2]
EVERY_STATE = "compute.checkpoint_seconds=0"


class Outcome(NamedTuple):
    """What came of a fault.

    Attributes:
        times: how often it was injected.
        ended: how climbs ended, and how often.
        lost_steps: steps of training that were done again, over all times.
        comparison: with the undisturbed storage; None where the climb was not brought to its end.
        left: what `rlhf doctor` finds afterwards.
        problems: what must not be; empty where all is well.
    """

    fault: str
    times: int
    ended: Mapping[str, int]
    lost_steps: int
    comparison: Comparison | None
    left: int
    problems: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {**self._asdict(), "comparison": self.comparison and self.comparison._asdict()}


class Bench:
    """A folder for trials.

    Args:
        folder: keeps storages; what is there is not climbed again.
        seed: of all moments that are drawn.
        calm: a storage with an undisturbed climb of the tiny configuration; None makes one.
    """

    def __init__(self, folder: Path, *, seed: int, calm: Path | None = None) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self._calm = calm

    def arguments(self, config: Path, storage: Path) -> tuple[str, ...]:
        """Arguments of a climb that keeps a state after every step."""
        return ("run", str(config), "--set", f"storage={storage}", "--set", EVERY_STATE)

    @cached_property
    def ppo(self) -> Path:
        """The tiny configuration."""
        return ROOT / "configs" / "tiny.yaml"

    @cached_property
    def dpo(self) -> Path:
        """The tiny configuration with the policy of configs/embedded_dpo.yaml, on fewer prompts."""
        document = yaml.safe_load(self.ppo.read_text(encoding="utf-8"))
        policy = yaml.safe_load((ROOT / "configs" / "embedded_dpo.yaml").read_text(encoding="utf-8"))["policy"]
        document["policy"] = {**policy, "evaluation_prompts": 20, "best_of_n": 2}
        path = self.folder / "tiny_dpo.yaml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return path

    def calm(self, config: Path) -> tuple[Path, dict[str, float]]:
        """A storage that nothing disturbed, with CPU seconds by stage, which are not known of one that was given."""
        if self._calm is not None and config == self.ppo:
            return self._calm, {}
        storage = self.folder / f"calm-{config.stem}"
        note = storage.with_suffix(".json")
        if not note.exists():
            shutil.rmtree(storage, ignore_errors=True)
            if config != self.ppo:
                shutil.copytree(self.calm(self.ppo)[0], storage)
            storage.mkdir(exist_ok=True)
            with self.lives(storage) as lives:
                life = lives.live(*self.arguments(config, storage))
            if life.code != 0:
                raise RuntimeError(f"an undisturbed climb ended with {life.code}: {life.said[-3000:]}")
            note.write_text(json.dumps(life.spent), encoding="utf-8")
        return storage, json.loads(note.read_text(encoding="utf-8"))

    def lives(self, storage: Path, **environment: str) -> Lives:
        """Climbs of a storage, with what is in their environment besides."""
        return Lives(storage, environment)

    def storage(self, name: str, origin: Path | None = None) -> Path:
        """A new storage, empty or as another one is."""
        storage = self.folder / name
        shutil.rmtree(storage, ignore_errors=True)
        if origin is None:
            storage.mkdir(parents=True)
        else:
            shutil.copytree(origin, storage)
        return storage

    def moment(self, stage: str, spent: Mapping[str, float], **options: Any) -> Moment:
        """A moment in the first third of a stage, which is done sooner each time that it goes on."""
        return Moment(stage, self.random.uniform(0, spent[stage] / 3), **options)


class Watch:
    """Keeps account of the lives of a trial.

    Args:
        bench: where it lives.
        fault: name of the trial in the table.
        config: that climbs.
        storage: where it climbs.
        settings: further arguments of its climbs.
        calm: a storage that nothing disturbed; by default that of the configuration.
        tracking: address of the MLflow of the storage; by default its own database.
    """

    def __init__(
        self,
        bench: Bench,
        fault: str,
        config: Path,
        storage: Path,
        *,
        settings: Sequence[str] = (),
        calm: Path | None = None,
        tracking: str = "",
    ) -> None:
        self._bench, self._fault, self._config, self._storage = bench, fault, config, storage
        self._settings, self._calm, self._tracking = settings, calm, tracking
        self.times = self._lost = 0
        self._ended: dict[str, int] = {}
        self.problems: list[str] = []

    def note(self, life: Life, how: str, *, wanted: Sequence[int], words: str = "") -> None:
        """Count a life that a fault met.

        Args:
            life: that ended.
            how: in the table.
            wanted: exit codes that are right.
            words: what must be said.
        """
        self.times += 1
        self._ended[how] = self._ended.get(how, 0) + 1
        self._lost += lost_steps(self._storage)
        if life.code not in wanted:
            self.problems.append(f"{how}: exit code {life.code}: {life.last_line[:300]}")
        if life.traceback:
            self.problems.append(f"{how}: a traceback: {life.last_line[:300]}")
        if words not in life.said:
            self.problems.append(f"{how}: did not say {words!r}: {life.last_line[:300]}")

    def finish(self, lives: Lives) -> Outcome:
        """Climb to the end without faults, and hold what is there against the undisturbed storage."""
        life = lives.live(*self._bench.arguments(self._config, self._storage), *self._settings)
        if life.code != 0:
            self.problems.append(f"the climb after it ended with {life.code}: {life.last_line[:300]}")
        return self.outcome(lives, compared=life.code == 0)

    def outcome(self, lives: Lives, *, compared: bool = True) -> Outcome:
        """What is there now, against the undisturbed storage unless nothing undisturbed is like it."""
        left = lives.live("doctor", "--storage", str(self._storage), "--json")
        listed = re.search(r"^\[(?:\]|$).*", left.said, re.MULTILINE | re.DOTALL)
        leftovers = json.loads(listed.group()) if listed else [left.last_line]
        comparison = compare(read_aftermath(self._storage, self._tracking), self.calm_aftermath()) if compared else None
        differing = {} if comparison is None else comparison._asdict()
        identical = differing.pop("identical", True)
        wrong = [f"{name} {value}" for name, value in differing.items() if value]
        wrong += [] if identical else ["weights differ"]
        wrong += [f"left behind: {leftover}" for leftover in leftovers]
        return Outcome(
            self._fault, self.times, self._ended, self._lost, comparison, len(leftovers), [*self.problems, *wrong]
        )

    def calm_aftermath(self) -> Aftermath:
        """The undisturbed storage of this configuration."""
        return read_aftermath(self._calm or self._bench.calm(self._config)[0])
