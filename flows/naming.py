"""Names of flow runs, which Prefect's pages list."""

from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run


def name_flow_run(name: str) -> None:
    """Name the flow run that this is called in, if in any."""
    if flow_run.id is not None:
        with get_client(sync_client=True) as client:
            client.update_flow_run(UUID(flow_run.id), name=name)
