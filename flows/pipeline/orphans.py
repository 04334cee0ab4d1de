"""Cleaning up after killed ladders: runs that still say they are running are ended.

A climb marks its run in MLflow with its process; the next climb on the same machine tidies up.
"""

import os
import socket
from contextlib import suppress
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Crashed

from flows.registry.client import Registry
from flows.registry.names import FLOW_RUN_TAG, PROCESS_TAG


def process_tags() -> dict[str, str]:
    """Tags by which a later climb recognises this process and its flow run."""
    return {PROCESS_TAG: f"{socket.gethostname()}:{os.getpid()}", FLOW_RUN_TAG: str(flow_run.id or "")}


def end_orphans(registry: Registry) -> None:
    """End the runs of climbs whose process on this machine no longer exists."""
    host = socket.gethostname()
    for run in registry.running(PROCESS_TAG):
        owner, _, process = run.data.tags[PROCESS_TAG].rpartition(":")
        if owner != host or _alive(int(process)):
            continue
        for child in registry.children(run.info.run_id):
            registry.end_run(child, "KILLED")
        registry.end_run(run.info.run_id, "KILLED")
        ladder = run.data.tags.get(FLOW_RUN_TAG)
        if ladder:
            with get_client(sync_client=True) as client:
                _end_flow_runs(client, UUID(ladder))


def _end_flow_runs(client: SyncPrefectClient, ladder: UUID) -> None:
    """Mark the stages of a climb as crashed, then the ladder itself."""
    below = FlowRunFilter.model_validate(
        {"parent_flow_run_id": {"any_": [ladder]}, "state": {"type": {"any_": ["RUNNING", "PENDING"]}}}
    )
    stages = [run.id for run in client.read_flow_runs(flow_run_filter=below)]
    for identity in [*stages, ladder]:
        with suppress(ObjectNotFound):
            client.set_flow_run_state(identity, Crashed(message="the process was killed"), force=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
