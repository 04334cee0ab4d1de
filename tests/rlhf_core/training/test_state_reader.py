"""A state that somebody wrote by hand, and sealed, runs no code when a stage goes on from it."""

import pickle
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_saver import save

from rlhf_core.training.checkpoint import Checkpoints
from rlhf_core.training.seals import seal
from rlhf_core.training.stage import OutOfTime
from rlhf_core.training.state_reader import read_state
from tests.rlhf_core.planted import Payload, payload


class Part:
    """A model of one weight, with what else an optimiser keeps."""

    def __init__(self, value: float) -> None:
        half = torch.tensor([value], dtype=torch.bfloat16)
        self.kept: dict[str, Any] = {
            "weight": torch.full((2, 3), value),
            "half": half,
            "betas": (value, 0.9),
            "no": None,
        }

    def state_dict(self) -> dict[str, Any]:
        return self.kept

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.kept = state


def test_what_was_kept_is_read_again(tmp_path: Path) -> None:
    Checkpoints(tmp_path).keep({"model": Part(2.0)}, {"step": 1})
    part = Part(0.0)
    assert Checkpoints(tmp_path).restore({"model": part}) == {"step": 1}
    torch.testing.assert_close(part.kept, Part(2.0).kept, rtol=0, atol=0)


def test_no_step_follows_the_state_that_is_kept_when_the_time_is_over(tmp_path: Path) -> None:
    late = Checkpoints(tmp_path, every_seconds=3600, until=time.monotonic() - 1)
    with pytest.raises(OutOfTime, match="3 steps are kept in"):
        late.keep({"model": Part(2.0)}, {"step": 3})
    early = Checkpoints(tmp_path, every_seconds=3600, until=time.monotonic() + 3600)
    early.keep({"model": Part(5.0)}, {"step": 4})
    part = Part(0.0)
    assert early.restore({"model": part}) == {"step": 3}
    torch.testing.assert_close(part.kept, Part(2.0).kept, rtol=0, atol=0)


def test_a_list_of_contents_that_is_a_program_is_not_run(tmp_path: Path) -> None:
    for step in (1, 2):
        Checkpoints(tmp_path / "states").keep({"model": Part(float(step))}, {"step": step})
    newest, ran = tmp_path / "states" / "step-000000002", tmp_path / "ran"
    (newest / "state" / ".metadata").write_bytes(payload(ran))
    seal(newest)
    part = Part(0.0)
    with pytest.warns(UserWarning, match=r"as its .metadata names pathlib\.\S*Path.* which is not run; the on"):
        assert Checkpoints(tmp_path / "states").restore({"model": part}) == {"step": 1}
    assert not ran.exists()
    pickle.loads(payload(ran))
    assert ran.exists()


def test_what_a_state_says_beside_tensors_is_not_run(tmp_path: Path) -> None:
    save({"rate": Payload(tmp_path / "ran")}, checkpoint_id=tmp_path / "state")
    with pytest.raises(CheckpointException, match="Weights only load failed"):
        read_state({"rate": 0.1}, tmp_path / "state")
    assert not (tmp_path / "ran").exists()
