"""What policies are truly worth, which no part of the pipeline sees: answers judged by the gold reward."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.year.registry import folder_of
from benchmarks.year.world import Week, cells
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.embedded_world import grammar
from rlhf_core.embedded_world.gold import gold_reward
from rlhf_core.generation.sampling import generate
from rlhf_core.metrics.estimates import Estimate

DEVIATIONS = 2.0
"""Standard errors beyond which a difference is no chance."""


class Gold:
    """Gold reward of every version that was asked, prompt by prompt, in a folder.

    Args:
        folder: of the year.
        asked: how many prompts are put to each version, as many of each topic and style.
        seed: of prompts and answers.
    """

    def __init__(self, folder: Path, asked: int, seed: int) -> None:
        self._folder, self._seed = folder, seed
        rng, each = random.Random(f"gold {seed}"), max(asked // len(cells()), 1)
        self.prompts = [prompt for prompts in cells().values() for prompt in rng.sample(prompts, each)]

    def of(self, version: str) -> NDArray[np.float64]:
        """Gold reward of a version's answer to each prompt, asked once, shape ``[N]``."""
        path = self._folder / "gold" / f"{version.replace('/', '-')}.json"
        if not path.exists():
            said = self.answers(version, self.prompts, self._seed)
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(said), encoding="utf-8")
        said = json.loads(path.read_text(encoding="utf-8"))
        pairs = zip(self.prompts, said, strict=True)
        return np.array([gold_reward(prompt, text, finished) for prompt, (text, finished) in pairs])

    def answers(self, version: str, prompts: Sequence[str], seed: int) -> list[tuple[str, bool]]:
        """A version's answers to prompts, and whether each ended by itself."""
        folder = folder_of(version, self._folder / "storage")
        return [(text, finished) for text, finished in generate(folder, prompts, SamplingConfig(), seed=seed)]

    def worth(self, version: str, week: Week) -> float:
        """Mean gold reward, prompts weighted as people ask in a week."""
        return float(np.average(self.of(version), weights=self._weights(week)))

    def gain(self, version: str, over: str, week: Week) -> Estimate:
        """Mean difference of two versions on the same prompts, weighted alike, with `DEVIATIONS` either side."""
        differences, weights = self.of(version) - self.of(over), self._weights(week)
        value = float(np.average(differences, weights=weights))
        shares = weights / weights.sum()
        error = float(np.sqrt(np.sum((shares * (differences - value)) ** 2)))
        return Estimate(value, value - DEVIATIONS * error, value + DEVIATIONS * error, len(differences))

    def _weights(self, week: Week) -> NDArray[np.float64]:
        return np.array([week.share(grammar.prompts()[prompt]) for prompt in self.prompts])
