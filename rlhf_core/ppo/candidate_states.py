"""Candidate checkpoints of a PPO run, written at evaluations; one of them becomes the result."""

import shutil
from collections.abc import Collection
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from rlhf_core.distributed import from_first, rank, wait
from rlhf_core.ppo.actor_critic import ActorCritic
from rlhf_core.training.checkpoint import write_state
from rlhf_core.training.seals import damage, seal
from rlhf_core.training.state_reader import foreign, read_state

STATES = "states"

SETTLED = "settled"
"""What the states are called once the result is written: a stage that is cut off then has no states to read again."""

ARTIFACTS = ("policy", "value")


class DamagedStateError(RuntimeError):
    """A state that would become the result is not what was measured."""


class CandidateStates:
    """States by the update after which they were measured: what is trained, be it all weights or adapters and heads.

    All ranks call its methods together.

    Args:
        out: folder of the stage.
        actor_critic: whose states they are.
    """

    def __init__(self, out: Path, actor_critic: ActorCritic) -> None:
        self._out = out
        self._actor_critic = actor_critic

    def keep(self, step: int) -> None:
        """Write the state after an update."""
        write_state(self._weights(), self._folder(step))
        wait()
        seal(self._folder(step))

    def drop_others(self, steps: Collection[int]) -> None:
        """Remove all states but those of some updates."""
        if rank() == 0:
            for folder in (self._out / STATES).iterdir():
                if int(folder.name) not in steps:
                    shutil.rmtree(folder)
        wait()

    def damage(self) -> str:
        """Which state has changed since it was written, and how; empty where none has."""
        steps = sorted(int(folder.name) for folder in (self._out / STATES).glob("[0-9]*"))
        found = ((step, damage(self._folder(step))) for step in from_first(steps))
        return next((f"candidate state {self._folder(step)}: {what}" for step, what in found if what), "")

    def settle(self, step: int, tokenizer: PreTrainedTokenizerBase) -> None:
        """Bring policy and value back to the state after an update and write its models; twice is once.

        Raises:
            DamagedStateError: if the state has changed since it was written.
        """
        if not from_first(self._folder(step).exists()):
            return
        if found := damage(self._folder(step)) or foreign(self._folder(step)):
            raise DamagedStateError(f"candidate state {self._folder(step)}: {found}; run again, which trains it anew")
        weights = self._weights()
        read_state(weights, self._folder(step))
        for name, optimiser in self._actor_critic.parts.items():
            optimiser.load_weights(weights[name])
        self._actor_critic.save(tokenizer, self._out)
        if rank() == 0:
            settled = self._out / SETTLED
            shutil.rmtree(settled, ignore_errors=True)
            (self._out / STATES).rename(settled)
            shutil.rmtree(settled)
        wait()

    def _weights(self) -> dict[str, dict[str, object]]:
        return {name: optimiser.weights() for name, optimiser in self._actor_critic.parts.items()}

    def _folder(self, step: int) -> Path:
        return self._out / STATES / str(step)
