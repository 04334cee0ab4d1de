"""The ledger of champions: who made which version champion, when, from what and why.

Every move of the alias `champion` is a run in the experiment `<project>-promotions`, so that it can be read in MLflow.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Literal

from mlflow.entities import Run

from flows.config.lineage import OpenLineageConfig
from flows.registry.client import Registry, open_registry
from flows.registry.names import CHAMPION, PROCESS_TAG, ledger_experiment
from flows.registry.processes import is_dead
from rlhf_core.config import Frozen

How = Literal["rlhf promote", "rlhf rollback", "MLflow", "rlhf approve"]

PROMOTE: How = "rlhf promote"

ROLLBACK: How = "rlhf rollback"

IN_MLFLOW: How = "MLflow"

APPROVE: How = "rlhf approve"
"""No move, but that another person signs for a version."""

RUNS_PER_PAGE = 1000


class PromotionRecord(Frozen):
    """A move of the alias `champion`, or an approval.

    Attributes:
        previous: the version that was champion before, None where none was, and of an approval.
        by: who did it, as user@host.
        forced: whether the gates of the version had not passed.
        how: by which command, or in MLflow's own page.
        when: in UTC.
        run_id: the run that keeps it.
    """

    model: str
    version: str
    previous: str | None
    by: str
    why: str
    how: How
    forced: bool
    when: datetime
    run_id: str = ""


@contextmanager
def recorded_promotion(
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
    told: OpenLineageConfig | None = None,
) -> Iterator[None]:
    """Keep a move of the alias `champion` that takes place inside: open before it, closed after it.

    A move that fails inside is none. One that was cut off is what the alias says: `settle` closes it.

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
        told: where lineage events go, if anywhere.
    """
    from flows.promotion.stated import conclude_move  # noqa: PLC0415 imports what signs, which no reader needs
    from flows.registry.statements import log_of  # noqa: PLC0415 as above

    log_of(registry)  # whose key must be there before anything moves
    ledger = open_ledger(registry)
    tags = {"model": model, "version": version, "from": previous or "", "by": by, "why": why, "how": how}
    run_id = ledger.start_run(f"{model}/{version}", tags={**tags, "forced": str(forced).lower()})
    try:
        if comparison is not None:
            ledger.client.log_dict(run_id, comparison.model_dump(mode="json"), "comparison.json")
        yield
    except BaseException:
        ledger.end_run(run_id, "FAILED")
        raise
    from flows.registry.lineage_events import LineageEvents, LineageNode, LineageRun, champion_node  # noqa: PLC0415 as above

    conclude_move(registry, ledger, run_id)
    run = LineageRun("promotion", run_id, tags={"how": how, "by": by, "why": why, "forced": str(forced).lower()})
    moved = [LineageNode(model, "MODEL", version)]
    LineageEvents(project_of(registry), told).tell("COMPLETE", run, moved, [champion_node(model, version)])


def settle(registry: Registry) -> list[str]:
    """Close the records of moves whose process was killed in them: done if the alias is there by now, else none.

    Returns:
        The version and what became of it, for each.
    """
    if registry.client.get_experiment_by_name(ledger_experiment(project_of(registry))) is None:
        return []
    ledger = open_ledger(registry)
    closed = []
    for run in ledger.running(PROCESS_TAG):
        if is_dead(run.data.tags[PROCESS_TAG]):
            done = run.data.tags["how"] != APPROVE and _has_moved(registry, run)
            if done:
                from flows.promotion.stated import conclude_move  # noqa: PLC0415 as above

                conclude_move(registry, ledger, run.info.run_id)
            else:
                ledger.end_run(run.info.run_id, "KILLED")
            closed.append(f"{run.info.run_name} {'became' if done else 'did not become'} {CHAMPION}")
    return closed


def history(registry: Registry, model: str | None = None, *, with_approvals: bool = False) -> list[PromotionRecord]:
    """All moves of the alias `champion` that are known, the newest first; of one model, or of all of the project."""
    ledger = open_ledger(registry)
    records: list[PromotionRecord] = []
    token = None
    while True:
        page = ledger.client.search_runs(
            [ledger.experiment_id],
            max_results=RUNS_PER_PAGE,
            order_by=["attributes.start_time DESC"],
            page_token=token,
        )
        runs = [run for run in page if model in (None, run.data.tags["model"])]
        runs = [run for run in runs if with_approvals or run.data.tags["how"] != APPROVE]
        records += [_promotion(run) for run in runs if _took_place(registry, run)]
        token = page.token
        if not token:
            return records


def project_of(registry: Registry) -> str:
    """The project whose registry it is."""
    return str(registry.client.get_experiment(registry.experiment_id).name)


def open_ledger(registry: Registry) -> Registry:
    """The experiment that keeps moves and approvals."""
    return open_registry(ledger_experiment(project_of(registry)), registry.storage)


def _took_place(registry: Registry, run: Run) -> bool:
    """Whether there was the move that a record is of; of an open one the alias tells."""
    if run.info.status == "RUNNING":
        return run.data.tags["how"] != APPROVE and _has_moved(registry, run)
    return bool(run.info.status == "FINISHED")


def _has_moved(registry: Registry, run: Run) -> bool:
    champion = registry.champion(run.data.tags["model"])
    return champion is not None and champion.version == run.data.tags["version"]


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
            "run_id": run.info.run_id,
        }
    )
