"""Champions and data that are older than a configuration lets them become: told after each climb."""

import time

from mlflow import MlflowClient

from flows.config.freshness import FreshnessConfig, overdue
from flows.outages import unless_away
from flows.registry.context import RunContext
from flows.registry.names import CHAMPION, DATA_TAG, PROMOTABLE, registered_name
from flows.tasks import OVERDUE, tell


def overdue_now(client: MlflowClient, project: str, settings: FreshnessConfig) -> list[str]:
    """What of a project is overdue, a sentence each."""
    if settings == FreshnessConfig():
        return []
    made: dict[str, float] = {}
    for name in (registered_name(project, model) for model in PROMOTABLE):
        with unless_away():  # no such model, or no champion yet
            champion = client.get_model_version_by_alias(name, CHAMPION)
            made[f"{name}/{champion.version}"] = champion.creation_timestamp / 1000
    return overdue(settings, made, _data_since(client, project), time.time())


def tell_overdue(settings: FreshnessConfig, context: RunContext) -> None:
    """Emit an event, of which an alert tells, if anything is overdue."""
    said = overdue_now(context.registry().client, context.project, settings)
    if said:
        tell(OVERDUE, context.project, f"rlhf.project.{context.project}", {"overdue": said})


def _data_since(client: MlflowClient, project: str) -> float | None:
    """When the newest data of a project were read for the first time."""
    experiment = client.get_experiment_by_name(project)
    if experiment is None:
        return None
    ids, by_start = [experiment.experiment_id], "attributes.start_time"
    newest = client.search_runs(ids, f"tags.`{DATA_TAG}` != ''", max_results=1, order_by=[f"{by_start} DESC"])
    for run in newest:
        same = f"tags.`{DATA_TAG}` = '{run.data.tags[DATA_TAG]}'"
        (first,) = client.search_runs(ids, same, max_results=1, order_by=[f"{by_start} ASC"])
        return float(first.info.start_time) / 1000
    return None
