"""Cleaning up after killed ladders: runs that still say they are running are ended.

Each run in MLflow is marked with its process; the next climb on the same machine tidies up.
"""

from contextlib import suppress
from uuid import UUID

from mlflow.entities import Run
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Crashed

from flows.registry.client import Registry
from flows.registry.names import FLOW_RUN_TAG, PARENT_RUN_TAG, PROCESS_TAG
from flows.registry.processes import is_dead


def flow_run_tag() -> dict[str, str]:
    """The tag by which a later climb finds the flow run of this one."""
    return {FLOW_RUN_TAG: str(flow_run.id or "")}


def find_orphans(registry: Registry) -> list[Run]:
    """Runs that say they are running, and whose process on this machine no longer exists."""
    return [run for run in registry.running(PROCESS_TAG) if is_dead(run.data.tags[PROCESS_TAG])]


def end_orphans(registry: Registry) -> None:
    """End the orphans of an experiment, in Prefect too."""
    for run in find_orphans(registry):
        end_orphan(registry, run)


def end_orphan(registry: Registry, run: Run) -> None:
    """End a run whose process is dead with the runs below it; a ladder's flow run with those of its stages too."""
    for child in registry.children(run.info.run_id):
        _end(registry, registry.client.get_run(child))
    _end(registry, run)
    ladder = run.data.tags.get(FLOW_RUN_TAG)
    if ladder and PARENT_RUN_TAG not in run.data.tags:
        with get_client(sync_client=True) as client:
            _end_flow_runs(client, UUID(ladder))


def _end(registry: Registry, run: Run) -> None:
    """End a run as its statement says, if there is one by now."""
    registry.end_as_noted(run)


def _end_flow_runs(client: SyncPrefectClient, ladder: UUID) -> None:
    """Mark the stages of a climb as crashed, then the ladder itself."""
    below = FlowRunFilter.model_validate(
        {"parent_flow_run_id": {"any_": [ladder]}, "state": {"type": {"any_": ["RUNNING", "PENDING"]}}}
    )
    stages = [run.id for run in client.read_flow_runs(flow_run_filter=below)]
    for identity in [*stages, ladder]:
        with suppress(ObjectNotFound):
            client.set_flow_run_state(identity, Crashed(message="the process was killed"), force=True)
