"""The live view of a stage: which step of how many, and the time that is left."""

import io

import pytest
from rich.console import Console

from flows.stages import progress
from flows.stages.progress import LiveStage, in_short
from rlhf_core.training.stage import Event


def said(monkeypatch: pytest.MonkeyPatch, events: list[tuple[float, Event]]) -> list[str]:
    """Lines of a stage in a log, whose events come at these times."""
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    console = Console(file=io.StringIO(), width=100)
    with LiveStage("policy", ("loss",), console) as live:
        for now, event in events:  # noqa: B007 read by the clock
            live.show(event)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


def test_the_time_left_is_that_of_the_steps_since_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    # evaluations before the first step took 100 s, the steps take 20 s each
    times = [(100.0, 0), (120.0, 1), (140.0, 2)]
    lines = said(monkeypatch, [(at, Event(step, {"loss": 0.5}, 20)) for at, step in times])
    assert lines == [
        "policy: started",
        "policy: step 0 of 20  loss 0.5",
        "policy: step 1 of 20, 6 min left  loss 0.5",  # 19 steps of 20 s
        "policy: step 2 of 20, 6 min left  loss 0.5",
        "policy: done after 140.0 s",
    ]


def test_what_is_begun_beside_the_steps_is_told_in_a_log_and_in_a_terminal() -> None:
    log, terminal = Console(file=io.StringIO(), width=30), Console(file=io.StringIO(), width=100, force_terminal=True)
    for console in (log, terminal):
        with LiveStage("sft", (), console) as live:
            live.say("measuring the model: [113] own answers")
            live.bar.refresh()
    assert log.file.getvalue().splitlines()[1] == "sft: measuring the model: [113] own answers"  # type: ignore[attr-defined]
    assert "measuring the model: [113] own answers" in terminal.file.getvalue()  # type: ignore[attr-defined]


def test_the_last_step_is_told_at_once_with_what_comes_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = said(monkeypatch, [(at, Event(step, {"loss": 1.0}, 1)) for at, step in ((20.0, 0), (21.0, 1))])
    assert lines[1:3] == ["policy: step 0 of 1  loss 1", "policy: step 1 of 1, now measured and saved  loss 1"]


def test_a_stage_that_goes_on_counts_its_own_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = said(monkeypatch, [(20.0, Event(15, {"loss": 1.0}, 20)), (40.0, Event(16, {"loss": 1.0}, 20))])
    assert lines[2] == "policy: step 16 of 20, 80 s left  loss 1"


def test_nothing_is_promised_where_the_last_step_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = said(monkeypatch, [(20.0, Event(3, {"loss": 1.0})), (40.0, Event(4, {"loss": 1.0}))])
    assert lines[1:3] == ["policy: step 3  loss 1", "policy: step 4  loss 1"]


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (119.4, "119 s"), (120.0, "2 min"), (5400.0, "90 min")])
def test_times_are_said_in_short(seconds: float, words: str) -> None:
    assert in_short(seconds) == words
