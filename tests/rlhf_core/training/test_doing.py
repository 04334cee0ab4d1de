"""What a stage does beside its steps: said before it begins, to one listener."""

import logging
from itertools import pairwise
from pathlib import Path

import pytest

from rlhf_core.training.doing import doing, heard_by
from tests.rlhf_core.test_sft_and_reward_model import reward_model, sft


def test_one_listens_and_leaves_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[str] = []
    before = vars(logging.getLogger("rlhf_core.training.doing")).copy()
    with heard_by(heard.append):
        doing("reading 3 pairs of 100 %s")
    with pytest.raises(ZeroDivisionError), heard_by(heard.append):
        1 / 0  # noqa: B018 fails
    doing("unheard")
    assert heard == ["reading 3 pairs of 100 %s"] and not caplog.messages
    after = vars(logging.getLogger("rlhf_core.training.doing"))
    assert [before[name] for name in ("level", "handlers", "propagate")] == [
        after[name] for name in ("level", "handlers", "propagate")
    ]


def test_stages_say_what_they_do_before_the_first_step_and_after_the_last(base: Path, tmp_path: Path) -> None:
    heard: list[str] = []
    with heard_by(heard.append):
        trained = sft(base, tmp_path / "sft").result
        reward_model(trained.artifacts["sft"], tmp_path / "reward-model")
    begun = iter(heard)
    expected = [
        "loading the base",
        "measuring the model: its losses on 8 held-out demonstrations, 8 own answers",
        "step 0 of 7 begins, each on 12 of 40 items",  # 2 epochs of 4 batches
        "measuring the model",
        "loading the SFT model",
        "reading 30 pairs",
        "step 0 of 11 begins, each on 4 of 10 items",  # 4 epochs of 3 batches of prompts
        "scoring 14 demonstrations",
        "stress test on 15 held-out pairs",
    ]
    assert len(heard) == len(expected)
    assert [said for said, start in zip(begun, expected, strict=True) if not said.startswith(start)] == []
    assert all(one != other for one, other in pairwise(heard))
