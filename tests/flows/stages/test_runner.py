"""What a stage made is looked at before it is kept; one whose time is over keeps its state and is gone on with."""

import time
from pathlib import Path
from typing import Any

import pytest

from flows.config.errors import InputError
from flows.stages.finished import FinishedTraining
from flows.stages.plan import Plan
from flows.stages.runner import train
from flows.storage.cached_results import unsealed
from rlhf_core.metrics.estimates import point
from rlhf_core.training.checkpoint import Checkpoints
from rlhf_core.training.stage import Event, OutOfTime, Stage, StageResult
from tests.flows import toys

STEPS = 4


class Count:
    """The steps that were done, as a state keeps them."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {"done": 0}

    def state_dict(self) -> dict[str, Any]:
        return self.kept

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.kept = state


def counting(until: float) -> Plan:
    """A stage of four steps, whose second takes until a time."""

    def start(out: Path, checkpoints: Checkpoints) -> Stage:
        count = Count()
        for step in range(checkpoints.restore({"count": count}).get("step", 0), STEPS):
            time.sleep(max(0.0, until - time.monotonic()) if step == 1 else 0.0)
            count.kept["done"] += 1
            yield Event(step, {"done": count.kept["done"]}, STEPS - 1)
            checkpoints.keep({"count": count}, {"step": step + 1})
        return StageResult(artifacts={"sft": out}, estimates={"done": point(count.kept["done"], STEPS)})

    config = toys.ToyConfig(text="count")
    return Plan(stage="sft", config=config, seed=1, start=start, main="sft", models={"sft": "A toy"}, uses={})


def test_a_figure_that_is_no_number_fails_the_stage_and_registers_nothing(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ladder = toys.Toys("toy", storage)
    monkeypatch.setattr(toys, "TEMPERATURE", float("nan"))
    with pytest.raises(InputError, match=r"stage sft, after step 1: figures that are no numbers \(NaN\): temperature;"):
        ladder.stage("sft", "text")
    assert not ladder.registry.client.search_registered_models()


def test_a_stage_whose_time_is_over_stops_after_its_step_and_goes_on_from_there(storage: Path) -> None:
    ladder = toys.Toys("toy", storage)
    client = ladder.registry.client
    until = time.monotonic() + 5
    plan = counting(until)
    with pytest.raises(OutOfTime, match="sft: 2 steps are kept in"):
        train.fn(plan.key, plan, ladder.context.model_copy(update={"until": until}))
    (run,) = client.search_runs([ladder.registry.experiment_id], "tags.`rlhf.stage` = 'sft'")
    assert run.info.status == "KILLED"
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "done")] == [0, 1]
    finished = unsealed(FinishedTraining, train.fn(plan.key, plan, ladder.context))
    assert finished is not None and finished.run_id == run.info.run_id
    assert finished.estimates["done"].value == STEPS
    at_first = float(run.data.tags["rlhf.seconds"])
    assert at_first > 0 and finished.seconds > at_first
    ended = client.get_run(run.info.run_id)
    assert float(ended.data.tags["rlhf.seconds"]) == pytest.approx(finished.seconds, abs=1)
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "done")] == [0, 1, 2, 3]


def test_a_stage_for_which_no_time_is_left_is_not_begun(storage: Path) -> None:
    ladder = toys.Toys("toy", storage)
    plan = counting(0.0)
    with pytest.raises(OutOfTime, match="sft was not begun"):
        train.fn(plan.key, plan, ladder.context.model_copy(update={"until": time.monotonic()}))
    assert not ladder.registry.client.search_runs([ladder.registry.experiment_id], "tags.`rlhf.stage` = 'sft'")
