"""The run of a stage in MLflow: the one that was cut off, which goes on, or a new one."""

from datetime import UTC, datetime
from pathlib import Path

from mlflow.entities import LifecycleStage
from prefect.runtime import flow_run

from flows.outages import unless_away
from flows.registry.client import Registry
from flows.registry.context import RunContext
from flows.registry.names import FLOW_RUN_TAG, KEY_TAG, RESUMED_TAG, STAGE_TAG
from flows.registry.provenance import surroundings
from flows.stages.journal import drop_untold
from rlhf_core.training.checkpoint import Checkpoints

RUN = "run_id"
"""Beside the states of a stage: its run in MLflow."""


def open_stage_run(stage: str, key: str, context: RunContext, states: Path) -> str:
    """Open the run of a stage, and bring its states to where its figures are known.

    Args:
        stage: its name.
        key: its content key.
        context: what the climb shares.
        states: folder of its states; made if absent.

    Returns:
        Id of the run.
    """
    registry = context.registry()
    tags = {STAGE_TAG: stage, KEY_TAG: key, FLOW_RUN_TAG: str(flow_run.id), **surroundings()}
    states.mkdir(parents=True, exist_ok=True)
    known = states / RUN
    known.touch()
    cut_off = registry.unfinished(known.read_text(encoding="utf-8", errors="replace")) or registry.left_behind(key)
    if cut_off is None:
        run_id = registry.start_run(stage, parent=context.run_id, tags=tags)
        known.write_text(run_id, encoding="utf-8")
        drop_untold(states, logged=-1)
        return run_id
    run_id = str(cut_off.info.run_id)
    known.write_text(run_id, encoding="utf-8")
    drop_untold(states, logged=registry.last_step(run_id))
    done = Checkpoints(states).notes.get("step", 0)
    times = [cut_off.data.tags.get(RESUMED_TAG), f"{datetime.now(UTC).isoformat(timespec='seconds')} after {done}"]
    resumed = {RESUMED_TAG: "; ".join(filter(None, times))[-5000:]}
    registry.go_on(run_id, parent=context.run_id, tags=tags | resumed)
    return run_id


def has_ended(run_id: str, key: str, registry: Registry) -> bool:
    """Whether a run is there, of this content key, and has ended well."""
    with unless_away():
        run = registry.client.get_run(run_id)
        kept = run.info.lifecycle_stage == LifecycleStage.ACTIVE and run.data.tags.get(KEY_TAG) == key
        return kept and run.info.status == "FINISHED"
    return False
