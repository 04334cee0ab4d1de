"""Ranks that fail or are killed: the stage says which and why, and none stays behind, whoever ends it."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.config.compute import ComputeConfig
from flows.stages.torchrun import launch
from flows.stages.worker import Job
from rlhf_core.metrics.estimates import point
from rlhf_core.training.checkpoint import Checkpoints
from rlhf_core.training.doing import heard_by
from rlhf_core.training.stage import Event, OutOfTime, Stage, StageResult

pytestmark = pytest.mark.slow
TWO = ComputeConfig(processes=2)


def counting(fault: Callable[[], None]) -> Callable[[Path, Checkpoints], Stage]:
    """A stage of four events with a fault on rank 1 after the second; nested, so that it travels by value."""

    def start(out: Path, _: Checkpoints) -> Stage:
        from rlhf_core.distributed import rank, summed, wait
        from rlhf_core.training.doing import doing

        out.mkdir(parents=True, exist_ok=True)
        (out / f"{rank()}.pid").write_text(str(os.getpid()))
        wait()
        doing("counting to four")
        for step in range(4):
            if step == 2 and rank() == 1:
                fault()
            yield Event(step, summed({"ranks": 1.0}))
        return StageResult(artifacts={"made": out}, estimates={"four": point(4.0, 1)})

    return start


def job(out: Path, fault: Callable[[], None]) -> Job:
    return Job(start=counting(fault), out=out, states=None, every_seconds=0.0)


def no_fault() -> Callable[[], None]:
    return lambda: None


def assert_gone(out: Path) -> None:
    """All ranks have ended, at the latest after a moment."""
    alive = [int(path.read_text()) for path in out.glob("*.pid")]
    assert len(alive) == 2
    for _ in range(100):
        alive = [pid for pid in alive if Path(f"/proc/{pid}").exists()]
        if not alive:
            return
        time.sleep(0.1)
    pytest.fail(f"{alive} are still there")


def test_events_and_result_come_back_as_from_one_process(tmp_path: Path) -> None:
    stage = launch(job(tmp_path / "out", no_fault()), tmp_path / "ranks", TWO, threads=2)
    heard: list[str] = []
    with heard_by(heard.append):
        assert [next(stage) for _ in range(4)] == [Event(step, {"ranks": 2.0}) for step in range(4)]
    assert heard == ["counting to four"]  # by the first rank alone
    with pytest.raises(StopIteration) as end:
        next(stage)
    assert end.value.value.artifacts == {"made": tmp_path / "out"}
    assert end.value.value.estimates["four"].value == 4.0


def test_the_error_of_a_rank_comes_back_with_its_number(tmp_path: Path) -> None:
    def fault() -> None:
        raise ValueError("the seventh seal is broken")

    stage, events = launch(job(tmp_path / "out", fault), tmp_path / "ranks", TWO, threads=2), []
    with pytest.raises(RuntimeError, match=r"(?s)^rank 1 failed: .*ValueError: the seventh seal is broken"):
        events.extend(stage)
    assert_gone(tmp_path / "out")


def test_a_killed_rank_is_named_with_its_signal(tmp_path: Path) -> None:
    def fault() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(RuntimeError, match=r"^rank 1 failed: Signal 9 \(SIGKILL\)"):
        list(launch(job(tmp_path / "out", fault), tmp_path / "ranks", TWO, threads=2))
    assert_gone(tmp_path / "out")


def test_ranks_whose_time_is_over_keep_their_state_and_end_without_a_fault(tmp_path: Path) -> None:
    def start(out: Path, checkpoints: Checkpoints) -> Stage:
        from rlhf_core.distributed import summed

        for step in range(4):
            yield Event(step, summed({"ranks": 1.0}))
            checkpoints.keep({}, {"step": step + 1})
        return StageResult(artifacts={}, estimates={})

    (tmp_path / "states").mkdir()
    over = Job(start=start, out=tmp_path / "out", states=tmp_path / "states", every_seconds=3600, until=0.0)
    with pytest.raises(OutOfTime, match="1 steps are kept in"):
        list(launch(over, tmp_path / "ranks", TWO, threads=2))
    assert Checkpoints(tmp_path / "states").notes == {"step": 1}


def test_ranks_end_when_the_stage_is_left(tmp_path: Path) -> None:
    def fault() -> None:
        time.sleep(600)

    stage = launch(job(tmp_path / "out", fault), tmp_path / "ranks", TWO, threads=2)
    assert next(stage) == Event(0, {"ranks": 2.0})
    stage.close()  # what an exception in the flow and Ctrl-C lead to
    assert_gone(tmp_path / "out")
