"""The last ingestion of a project, as the run that read its data has kept it."""

from datetime import UTC, datetime

from data_contracts.records import COLUMNS
from flows.registry.client import Registry
from flows.registry.contributors import CONTRIBUTORS_FILE, Contributors
from flows.registry.dataset_uploads import FILES
from flows.registry.names import DATA_TAG
from rlhf_core.config import Frozen


class LastIngestion(Frozen):
    """What the ingestion before this one read.

    Attributes:
        contributors: who gave the rows, by table.
        files: as `FILES`.
    """

    when: datetime
    contributors: dict[str, Contributors]
    files: dict[str, str]


def last_ingestion(registry: Registry) -> LastIngestion | None:
    """The newest ingestion that a run of the project has kept; None where there is none."""
    query, newest_first = f"tags.`{DATA_TAG}` != ''", ["attributes.start_time DESC"]
    runs = registry.client.search_runs([registry.experiment_id], query, max_results=1, order_by=newest_first)
    for run in runs:
        documents = {kind: registry.document(run.info.run_id, f"data/{kind}/{CONTRIBUTORS_FILE}") for kind in COLUMNS}
        return LastIngestion(
            when=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
            contributors={kind: Contributors.model_validate(it) for kind, it in documents.items() if it is not None},
            files=registry.document(run.info.run_id, f"data/{FILES}") or {},
        )
    return None
