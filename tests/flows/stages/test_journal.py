"""Events, runs and versions of stages that are killed: nothing of them is lost, and nothing is there twice."""

import multiprocessing
import os
import signal
import socket
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from flows.config.compute import ComputeConfig
from flows.registry.client import Registry
from flows.registry.names import KEY_TAG, PROCESS_TAG
from flows.stages.finished import FINISHED, FinishedTraining, keep_finished, read_finished
from flows.stages.journal import JOURNAL, LoggedEvents, drop_untold, journaled, read_journal
from flows.stages.plan import Plan
from flows.stages.runner import train
from rlhf_core.metrics.estimates import point
from rlhf_core.training.checkpoint import Checkpoints
from rlhf_core.training.stage import Event, Stage, StageResult
from tests.flows.toys import ToyConfig, Toys

RESULT = StageResult(artifacts={})


def five_steps(first: int) -> Stage:
    for step in range(first, 5):
        yield Event(step, {"loss_nats": 5.0 - step}, 4)
    return RESULT


def die_after_three(states: Path) -> None:
    for event in journaled(five_steps(0), states):
        if event.step == 2:
            os.kill(os.getpid(), signal.SIGKILL)


def steps(registry: Registry, run_id: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in registry.client.get_metric_history(run_id, "loss_nats")]


@pytest.mark.parametrize("first", [0, 2], ids=["from the start", "from a state"])
def test_a_killed_process_loses_no_event_and_says_none_twice(storage: Path, tmp_path: Path, first: int) -> None:
    registry = Toys("toy", storage).registry
    run_id = registry.start_run("sft")
    LoggedEvents(tmp_path, registry, run_id).add(Event(0, {"loss_nats": 5.0}, 4))
    killed = multiprocessing.get_context("fork").Process(target=die_after_three, args=(tmp_path,))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    with (tmp_path / JOURNAL).open("a") as file:
        file.write('[3, {"loss_')  # as if the disk had been full in the middle of a line
    events = LoggedEvents(tmp_path, registry, run_id)
    for event in journaled(five_steps(first), tmp_path):
        events.add(event)
    events.flush()
    assert steps(registry, run_id) == [(step, 5.0 - step) for step in range(5)]
    assert [event.step for event in read_journal(tmp_path)] == list(range(5))


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_a_damaged_line_ends_the_journal_unless_mlflow_has_its_step(tmp_path: Path) -> None:
    list(journaled(five_steps(0), tmp_path))
    whole = (tmp_path / JOURNAL).read_bytes()
    second = whole.index(b"\n") + 1
    for place in (second, second + 16, second + 19, second + 40):
        for logged, left in ((-1, [0]), (0, [0]), (1, [0, 2, 3, 4]), (4, [0, 2, 3, 4])):
            (tmp_path / JOURNAL).write_bytes(whole)
            flip(tmp_path / JOURNAL, place)
            with pytest.warns(UserWarning, match="line 2 is damaged; its figures are in MLflow or told again"):
                drop_untold(tmp_path, logged)
            assert [event.step for event in read_journal(tmp_path)] == left


def test_a_damaged_note_of_a_finished_training_is_not_believed(tmp_path: Path) -> None:
    trained = FinishedTraining(
        run_id="r", folders={}, files=[], estimates={}, evidence=[], series={}, samples=[], outcome="", seconds=1.5
    )
    keep_finished(tmp_path, trained)
    assert read_finished(tmp_path) == trained
    for place in (0, 32, 60, -3):
        flip(tmp_path / FINISHED, place)
        with pytest.warns(UserWarning, match="is damaged; the training goes on from its last state"):
            assert read_finished(tmp_path) is None
        flip(tmp_path / FINISHED, place)


def test_a_damaged_note_of_the_run_is_none_and_its_run_is_found_by_its_key(storage: Path) -> None:
    registry = Toys("toy", storage).registry
    run_id = registry.start_run("sft")
    assert registry.unfinished(run_id) is not None
    for damaged in ("", run_id[:-1], f"{run_id[:-1]}\ufffd", "f" * 32):
        assert registry.unfinished(damaged) is None
    registry.tag_run(run_id, {KEY_TAG: "sft-1"})
    assert registry.left_behind("sft-1") is None  # its process lives
    registry.tag_run(run_id, {PROCESS_TAG: f"{socket.gethostname()}:999999999:1"})
    found = registry.left_behind("sft-1")
    assert found is not None and found.info.run_id == run_id
    assert registry.left_behind("sft-2") is None
    registry.end_run(run_id, "FINISHED")
    assert registry.left_behind("sft-1") is None


def test_the_result_goes_through_and_without_states_nothing_is_written(tmp_path: Path) -> None:
    for states in (tmp_path, None):
        stage = journaled(five_steps(3), states)
        assert [next(stage).step, next(stage).step] == [3, 4]
        with pytest.raises(StopIteration) as end:
            next(stage)
        assert end.value.value is RESULT
    assert [event.step for event in read_journal(tmp_path)] == [3, 4]


# Of a stage as a whole


class Killed(BaseException):
    """Stands for the end of the process at a point that no signal would hit for sure."""


def cut(monkeypatch: pytest.MonkeyPatch, where: object, what: str) -> None:
    def die(*_: object, **__: object) -> None:
        raise Killed

    monkeypatch.setattr(where, what, die)


POINTS = (
    ("flows.stages.runner", "keep_finished"),
    ("mlflow:MlflowClient", "log_model_artifacts"),
    ("mlflow:MlflowClient", "create_model_version"),
    ("flows.registry.client:Registry", "_link"),
)


@pytest.mark.parametrize(("owner", "name"), POINTS, ids=[name for _, name in POINTS])
def test_a_stage_that_is_cut_off_while_it_registers_has_one_run_and_one_version(
    storage: Path, monkeypatch: pytest.MonkeyPatch, owner: str, name: str
) -> None:
    toys = Toys("toy", storage)
    with monkeypatch.context() as patch:
        cut(patch, resolve_name(owner), name)
        with pytest.raises(Killed):
            toys.stage("sft", "text")
    left = list(storage.glob(f"work/sft-*.states/{FINISHED}"))
    assert len(left) == (0 if name == "keep_finished" else 1)
    again = Toys("toy", storage).stage("sft", "text")
    client = toys.registry.client
    assert [(str(version.version), version.run_id) for version in client.search_model_versions("name='toy-sft'")] == [
        (again.version, again.run_id)
    ]
    (run,) = client.search_runs([toys.registry.experiment_id], "tags.`rlhf.stage` = 'sft'")
    assert (run.info.run_id, run.info.status) == (again.run_id, "FINISHED")
    models = client.search_logged_models([toys.registry.experiment_id], filter_string="name = 'toy-sft'")
    assert [model.model_id for model in models] == [again.model_id]
    assert again.version in models[0].tags[MLFLOW_MODEL_VERSIONS]
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "loss")] == [1]
    assert "after" in run.data.tags["rlhf.resumed"]


class Sum:
    """Stands for weights: a number that each step changes in its own way."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {"sum": 0.0}

    def state_dict(self) -> dict[str, Any]:
        return self.kept

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.kept = state


def summing(dies_after: int) -> Plan:
    """A stage of six steps that keeps each state, and is killed once one is kept."""

    def start(out: Path, checkpoints: Checkpoints) -> Stage:
        weights = Sum()
        for step in range(checkpoints.restore({"weights": weights}).get("step", 0), 6):
            weights.kept["sum"] = 2 * weights.kept["sum"] + step
            yield Event(step, {"sum": weights.kept["sum"]}, 5)
            checkpoints.keep({"weights": weights}, {"step": step + 1})
            if step == dies_after:
                raise Killed
        return StageResult(artifacts={"sft": out}, estimates={"sum": point(weights.kept["sum"], 1)})

    config = ToyConfig(text="sum")
    return Plan(stage="sft", config=config, seed=1, start=start, main="sft", models={"sft": "A toy"}, uses={})


def damage_line(journal: Path) -> None:
    flip(journal, journal.read_bytes().index(b"\n") * 3)


def damage_last_end(journal: Path) -> None:
    flip(journal, -1)


@pytest.mark.parametrize("damage", [damage_line, damage_last_end, Path.unlink, None])
def test_figures_that_are_damaged_before_mlflow_has_them_are_made_again(
    storage: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None] | None
) -> None:
    monkeypatch.setattr("flows.stages.journal.FLUSH_EVERY_SECONDS", 3600.0)
    toys = Toys("toy", storage)
    context = toys.context.model_copy(update={"compute": ComputeConfig(checkpoint_seconds=0)})
    plan = summing(dies_after=4)
    with pytest.raises(Killed):
        train.fn(plan.key, plan, context)
    (journal,) = storage.glob(f"work/sft-*.states/{JOURNAL}")
    with pytest.warns(UserWarning, match="lack the figures of step") if damage else nullcontext():
        if damage is not None:
            damage(journal)
        plan = summing(dies_after=-1)
        finished = train.fn(plan.key, plan, context)
    client = toys.registry.client
    logged = [(metric.step, metric.value) for metric in client.get_metric_history(finished["run_id"], "sum")]
    assert logged == list(enumerate([0.0, 1.0, 4.0, 11.0, 26.0, 57.0]))
    assert finished["estimates"]["sum"][0] == 57.0
