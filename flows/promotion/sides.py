"""Two versions of a model, what neither has learned from, and how both see pairs."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flows.config.ladder import LadderConfig
from flows.config.pretrained import TAKEN
from flows.registry.client import Registry
from flows.registry.learned_prompts import UsedTable, learned_prompts, leave_out, matching, tuned_prompts
from flows.registry.names import PARENT_PREFIX, TRAINED_BY_TAG
from flows.registry.references import ModelRef
from flows.registry.tags import imported
from flows.storage.snapshots import read_split
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.data.records import Demonstration, Pair
from rlhf_core.evaluators.reward_model import score


class Sides(NamedTuple):
    """Both versions and what it takes to measure them."""

    registry: Registry
    config: LadderConfig
    challenger: ModelRef
    champion: ModelRef

    @property
    def folders(self) -> tuple[Path, Path]:
        """Files of challenger and champion."""
        return self.registry.folder(self.challenger), self.registry.folder(self.champion)


class Unseen(NamedTuple):
    """Held-out prompts that nothing which takes part was trained on, in the order of their table.

    Attributes:
        tuned: those on which the temperature of a side was fitted, or its state chosen.
        notes: how many rows are left out, and what was trained on them; which side was trained elsewhere.
    """

    prompts: dict[str, None]
    tuned: set[str]
    notes: tuple[str, ...]


def unseen(sides: Sides, data: UsedTable, what: str) -> Unseen:
    """What both sides may be judged by: what scores the challenger's answers is in its lineage.

    Args:
        sides: both versions.
        data: a table with held-out rows.
        what: what these rows are, such as pairs.

    Raises:
        InputError: if it cannot be known what a version was trained on.
    """
    both, frame = (sides.challenger, sides.champion), read_split(data, "test")
    left_out = leave_out(frame, learned_prompts(both, sides.registry))
    prompts = dict.fromkeys(prompt for prompt in frame["prompt"].tolist() if prompt not in left_out.prompts)
    tuned = set[str]().union(*(matching(prompts, tuned_prompts(side, sides.registry)) for side in both))
    notes = [left_out.sentence(f"held-out {what}"), *(_imported(side, sides.registry) for side in both)]
    return Unseen(prompts, tuned, tuple(filter(None, notes)))


def _imported(ref: ModelRef, registry: Registry) -> str:
    """That a version was trained elsewhere, empty of one that was trained here."""
    tags = registry.client.get_model_version(ref.name, ref.version).tags
    if TRAINED_BY_TAG not in tags:
        return ""
    return f"{ref.label} was {imported(tags[TRAINED_BY_TAG], known=f'{PARENT_PREFIX}{TAKEN}' in tags)}"


def margins(folder: Path, pairs: Sequence[Pair], config: RewardModelConfig) -> NDArray[np.float64]:
    """Calibrated margins chosen - rejected, shape ``[N]``."""
    items = [Demonstration(pair.prompt, text) for pair in pairs for text in (pair.chosen, pair.rejected)]
    unique = list(dict.fromkeys(items))
    scores = dict(zip(unique, score(folder, unique, config), strict=True))
    both: NDArray[np.float64] = np.array([scores[item] for item in items]).reshape(-1, 2)
    deltas: NDArray[np.float64] = both[:, 0] - both[:, 1]
    return deltas
