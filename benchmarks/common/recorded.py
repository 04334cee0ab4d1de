"""Times of the climbs in a storage as Prefect and MLflow recorded them; both find it by the environment."""

import json
from dataclasses import asdict, dataclass
from uuid import UUID

from mlflow import MlflowClient
from mlflow.entities import Run
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter

from flows.registry.names import FLOW_RUN_TAG


@dataclass(frozen=True)
class Recorded:
    """Times of a climb in seconds since the epoch, durations in seconds.

    Attributes:
        ingest: duration of the ingestion.
        stages: duration of all stages, their training included.
        judged: end of the last task, after which only the answers for the summary are left.
        reported: end of the climb's run in MLflow.
    """

    began: float
    ended: float
    ingest: float
    stages: float
    judged: float
    reported: float


def read_climbs() -> list[Recorded]:
    """All climbs of the storage, the oldest first."""
    mlflow = MlflowClient()
    experiments = [experiment.experiment_id for experiment in mlflow.search_experiments()]
    query, order = f"tags.`{FLOW_RUN_TAG}` != '' and attributes.run_name = 'ladder'", ["attributes.start_time ASC"]
    with get_client(sync_client=True) as prefect:
        return [_climb(prefect, run) for run in mlflow.search_runs(experiments, query, order_by=order)]


def _climb(prefect: SyncPrefectClient, run: Run) -> Recorded:
    ladder = prefect.read_flow_run(UUID(run.data.tags[FLOW_RUN_TAG]))
    below = FlowRunFilter.model_validate({"parent_flow_run_id": {"any_": [ladder.id]}})
    spent = {
        prefect.read_flow(found.flow_id).name: found.total_run_time.total_seconds()
        for found in prefect.read_flow_runs(flow_run_filter=below)
    }
    own = FlowRunFilter.model_validate({"id": {"any_": [ladder.id]}})
    tasks = [found.end_time for found in prefect.read_task_runs(flow_run_filter=own) if found.end_time is not None]
    assert ladder.start_time is not None and ladder.end_time is not None
    return Recorded(
        began=ladder.start_time.timestamp(),
        ended=ladder.end_time.timestamp(),
        ingest=spent.pop("ingest"),
        stages=sum(spent.values()),
        judged=max(tasks).timestamp(),
        reported=run.info.end_time / 1000,
    )


if __name__ == "__main__":
    print(json.dumps([asdict(climb) for climb in read_climbs()]))
