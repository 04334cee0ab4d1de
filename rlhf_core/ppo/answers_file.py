"""The file with the answers of every evaluation on watched prompts, a row each."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlhf_core.distributed import rank
from rlhf_core.metrics.policy import Answers

ANSWERS = "answers.jsonl"


class AnswersFile:
    """Written by rank 0.

    Args:
        folder: of the stage, made if absent.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / ANSWERS

    def add(self, step: int, prompts: Sequence[str], answers: Answers) -> None:
        """Add the answers of an evaluation after so many updates."""
        columns: dict[str, Sequence[Any] | NDArray[np.float64]] = {
            "prompt": prompts,
            "response": answers.texts,
            "finished": answers.finished,
            "kl_to_sft_nats": answers.kl,
            "reward_score": answers.reward,
            "judge_score": answers.judge,
            **{f"reward_{name}": values for name, values in answers.terms.items()},
        }
        if rank() == 0:
            with self._path.open("a", encoding="utf-8") as stream:
                for row in zip(*columns.values(), strict=True):
                    stream.write(json.dumps({"step": step, **dict(zip(columns, row, strict=True))}) + "\n")

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._path.stat().st_size

    def cut(self, size: int) -> None:
        """Go back to what it was at so many bytes; it is made if absent."""
        if rank() == 0:
            with self._path.open("ab") as stream:
                stream.truncate(size)
