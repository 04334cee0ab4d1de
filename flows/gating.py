"""Judges a stage by its gates, publishes the verdicts, and stops the ladder where they say so."""

from collections.abc import Sequence
from typing import Any

from prefect import task
from prefect.artifacts import create_table_artifact

from flows.alerts import GATE_FAILED, tell
from flows.config import GatesConfig
from flows.description import describe_versions
from flows.place import Place
from flows.references import StageRecord
from flows.retries import BACKOFF, RETRIES, retry_infrastructure
from rlhf_core.gates import Gate, Verdict, blocked, judge

STATUS_TAG = "gate.status"
PASSED = "passed"


class StoppedByGate(Exception):
    """A gate stopped the ladder; exit code 3."""

    def __init__(self, stage: str, verdicts: Sequence[Verdict]) -> None:
        self.stage = stage
        self.verdicts = list(verdicts)
        reasons = "; ".join(verdict.explanation for verdict in verdicts)
        names = ", ".join(verdict.gate for verdict in verdicts)
        super().__init__(f"stopped by gate {names} because {reasons}")


def judge_stage(record: StageRecord, gates: Sequence[Gate], config: GatesConfig, place: Place) -> list[Verdict]:
    """Judge the figures of a stage and publish the verdicts to Prefect and MLflow.

    Args:
        record: the finished stage.
        gates: what it must show.
        config: what counts as blocked.
        place: where the climb's run and registry are.

    Returns:
        One verdict per gate.
    """
    verdicts = judge(gates, record.estimates)
    stopping = blocked(verdicts, abstain_blocks=config.abstain_blocks)
    publish_verdicts(record, [verdict.model_dump(mode="json") for verdict in verdicts], bool(stopping), place)
    if stopping:
        reasons = {verdict.gate: verdict.explanation for verdict in stopping}
        tell(GATE_FAILED, place.project, f"rlhf.model.{record.model.name}", {"version": record.model.label, **reasons})
    return verdicts


def enforce(stage: str, verdicts: Sequence[Verdict], config: GatesConfig) -> None:
    """Stop the ladder at a failed gate, unless the configuration only asks for advice.

    Raises:
        StoppedByGate: naming every gate that blocks, and why.
    """
    stopping = blocked(verdicts, abstain_blocks=config.abstain_blocks)
    if stopping and config.mode == "enforce":
        raise StoppedByGate(stage, stopping)


@task(name="publish-verdicts", retries=RETRIES, retry_delay_seconds=BACKOFF, retry_condition_fn=retry_infrastructure)
def publish_verdicts(record: StageRecord, verdicts: list[dict[str, Any]], failed: bool, place: Place) -> None:
    """A table in Prefect, tags and descriptions of the versions, JSON in the ladder's run; safe to try again."""
    create_table_artifact(
        key=f"gates-{record.stage}",
        table=[{name: verdict[name] for name in ("gate", "status", "explanation")} for verdict in verdicts],
        description=f"Gate verdicts on {', '.join(ref.label for ref in record.models.values())}",
    )
    registry = place.registry()
    registry.client.log_dict(place.run_id, {"verdicts": verdicts}, f"gates/{record.stage}.json")
    tags = {f"gate.{verdict['gate']}": verdict["status"] for verdict in verdicts}
    registry.tag_versions(record.models.values(), {**tags, STATUS_TAG: "failed" if failed else PASSED})
    describe_versions(record, [Verdict.model_validate(verdict) for verdict in verdicts], registry)
