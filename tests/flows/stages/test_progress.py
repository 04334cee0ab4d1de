"""The live view of a stage: which step of how many, and the time that is left."""

import io

import pytest
from rich.console import Console

from flows.stages import progress
from flows.stages.progress import LiveStage, StageAhead, course, expect, in_short
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


AHEAD = (("base", 39.0, "reused"), ("sft", 21.0, ""), ("policy", 61.0, ""))


def shown(console: Console, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is shown of a run whose base is reused, while its SFT model trains and when its policy begins."""
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with course():
        expect(StageAhead(stage, seconds, became) for stage, seconds, became in AHEAD)
        with LiveStage("sft", ("loss",), console) as live:
            for now, step in ((1.0, 0), (21.0, 1)):  # noqa: B007 read by the clock
                live.show(Event(step, {"lr": 1.0, "loss": 0.25}, 5))
            live.bar.refresh()
            now = 101.0
        with LiveStage("policy", ("judge", "kl"), console) as live:
            for now, metrics in ((120.0, {"judge": 1.0}), (140.0, {"other": 7.0, "kl": 2.5})):
                live.show(Event(int(now) // 20 - 6, metrics, 10))
            live.bar.refresh()
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def test_plain_lines_tell_which_stage_it_is_and_how_long_the_whole_run_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(Console(file=io.StringIO(), width=100), monkeypatch).splitlines() == [
        "sft: started",
        "sft: stage 2 of 3, 21 s last time; then policy",
        "sft: step 1 of 5, 80 s left; about 2 min left in all  loss 0.25",
        "sft: done after 101.0 s",
        "policy: started",
        "policy: stage 3 of 3, 61 s last time",
        "policy: step 0 of 10  judge 1",
        "policy: step 1 of 10, 3 min left  judge 1  kl 2.5",
        "policy: done after 39.0 s",
    ]


def test_a_terminal_shows_all_stages_with_what_became_of_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    sft, policy = shown(terminal, monkeypatch).split("sft: done")
    rows = [line.split() for line in sft.splitlines()]
    assert [row[1:3] for row in rows if "base" in row][-1] == ["base", "reused"]
    assert ["policy", "about", "61", "s"] in rows and ["about", "2", "min", "left", "in", "all"] in rows
    (last,) = [line for line in policy.splitlines() if "loss 0.25" in line][-1:]
    assert last.split() == ["✓", "sft", "101", "s", "loss", "0.25"]


def test_no_run_leaves_its_stages_to_the_next() -> None:
    with course():
        expect([StageAhead("sft")])
    assert LiveStage("sft", ()).coming == LiveStage("policy", ()).done == []
