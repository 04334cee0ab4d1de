"""The end of a stage's time, where its step is stuck and where a cut was lost."""

import time
from contextlib import suppress

import pytest
from prefect.task_engine import TaskRunTimeoutError

from flows.stages.time_limit import TimeLimit


def test_a_step_that_is_stuck_is_cut_off_with_what_gave_it_its_time() -> None:
    started = time.monotonic()
    told = r"sft took longer than the 0.05 s that `compute.time_outs` gives"
    with pytest.raises(TaskRunTimeoutError, match=told), TimeLimit("sft", 0.05).left():
        time.sleep(20)
    assert time.monotonic() - started < 10


def test_a_cut_that_was_swallowed_comes_again_at_the_next_step() -> None:
    limit = TimeLimit("sft", 0.05)
    with limit.left(), suppress(BaseException):
        time.sleep(20)
    with pytest.raises(TaskRunTimeoutError), limit.left():
        time.sleep(20)


def test_between_steps_nothing_is_cut_off_and_no_limit_cuts_nothing() -> None:
    limit = TimeLimit("sft", 0.05)
    with limit.left():
        pass
    time.sleep(0.1)
    with TimeLimit("sft", None).left():
        time.sleep(0.1)
