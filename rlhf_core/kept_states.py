"""Evaluated states of a policy and its values on disk, one of which becomes the result."""

import shutil
from collections.abc import Collection
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from rlhf_core.learner import Learner
from rlhf_core.parallel import rank, wait

STATES = "states"
ARTIFACTS = ("policy", "value")


class KeptStates:
    """States by the update after which they were measured. All ranks call its methods together.

    Args:
        out: folder of the stage.
    """

    def __init__(self, out: Path) -> None:
        self._out = out

    def keep(self, step: int, learner: Learner, tokenizer: PreTrainedTokenizerBase) -> None:
        """Write the state after an update."""
        learner.save(tokenizer, self._folder(step))

    def drop_others(self, steps: Collection[int]) -> None:
        """Remove all states but those of some updates."""
        if rank() == 0:
            for folder in (self._out / STATES).iterdir():
                if int(folder.name) not in steps:
                    shutil.rmtree(folder)
        wait()

    def settle(self, step: int) -> None:
        """Make the state after an update the result; what was settled by a stage that was cut off then stays so."""
        if rank() == 0:
            for name in ARTIFACTS:
                state = self._folder(step) / name
                if state.exists():
                    shutil.rmtree(self._out / name, ignore_errors=True)
                    state.rename(self._out / name)
            shutil.rmtree(self._out / STATES, ignore_errors=True)
        wait()

    def _folder(self, step: int) -> Path:
        return self._out / STATES / str(step)
