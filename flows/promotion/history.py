"""The ledger of champions: who made which version champion, when, from what and why.

Every move of the alias `champion` is a run in the experiment `<project>-promotions`, so that it can be read in MLflow.
"""

from datetime import UTC, datetime
from typing import Literal

from mlflow.entities import Run

from flows.registry.client import Registry, open_registry
from rlhf_core.config import Frozen

How = Literal["rlhf promote", "rlhf rollback", "MLflow"]

PROMOTE: How = "rlhf promote"

ROLLBACK: How = "rlhf rollback"

LEDGER = "promotions"

RUNS_PER_PAGE = 1000


class PromotionRecord(Frozen):
    """A move of the alias `champion`.

    Attributes:
        previous: the version that was champion before, None where none was.
        by: who did it, as user@host.
        forced: whether the gates of the version had not passed.
        how: by which command, or in MLflow's own page.
        when: in UTC.
    """

    model: str
    version: str
    previous: str | None
    by: str
    why: str
    how: How
    forced: bool
    when: datetime


def record_promotion(
    registry: Registry,
    *,
    model: str,
    version: str,
    previous: str | None,
    by: str,
    why: str,
    how: How,
    forced: bool,
    comparison: Frozen | None = None,
) -> str:
    """Keep a move of the alias `champion`.

    Args:
        registry: of the project.
        model: registered name.
        version: the new champion.
        previous: the version before, None where there was none.
        by: who did it.
        why: the reason, may be empty.
        how: by which command, or in MLflow's own page.
        forced: whether the gates of the version had not passed.
        comparison: what was shown before.

    Returns:
        Id of the run that keeps it.
    """
    ledger = _ledger(registry)
    tags = {"model": model, "version": version, "from": previous or "", "by": by, "why": why, "how": how}
    run_id = ledger.start_run(f"{model}/{version}", tags={**tags, "forced": str(forced).lower()})
    if comparison is not None:
        ledger.client.log_dict(run_id, comparison.model_dump(mode="json"), "comparison.json")
    ledger.end_run(run_id, "FINISHED")
    return run_id


def history(registry: Registry, model: str | None = None) -> list[PromotionRecord]:
    """All moves of the alias `champion` that are known, the newest first; of one model, or of all of the project."""
    ledger = _ledger(registry)
    records: list[PromotionRecord] = []
    token = None
    while True:
        page = ledger.client.search_runs(
            [ledger.experiment_id],
            "attributes.status = 'FINISHED'",
            max_results=RUNS_PER_PAGE,
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        records += [_promotion(run) for run in page if model in (None, run.data.tags["model"])]
        token = page.token
        if not token:
            return records


def project_of(registry: Registry) -> str:
    """The project whose registry it is."""
    return str(registry.client.get_experiment(registry.experiment_id).name)


def _ledger(registry: Registry) -> Registry:
    return open_registry(f"{project_of(registry)}-{LEDGER}", registry.storage)


def _promotion(run: Run) -> PromotionRecord:
    tags = run.data.tags
    return PromotionRecord.model_validate(
        {
            "model": tags["model"],
            "version": tags["version"],
            "previous": tags["from"] or None,
            "by": tags["by"],
            "why": tags["why"],
            "how": tags["how"],
            "forced": tags["forced"] == "true",
            "when": datetime.fromtimestamp(run.info.start_time / 1000, UTC),
        }
    )
