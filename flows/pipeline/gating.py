"""Judges stages and data by their gates, publishes the verdicts, and stops the ladder where they say so."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from prefect.artifacts import create_table_artifact

from flows.config.gates import GatesConfig
from flows.registry.context import RunContext
from flows.registry.model_card import describe_versions
from flows.registry.names import FAILED, GATE_PREFIX, PASSED, STATUS_TAG
from flows.registry.references import StageRecord
from flows.tasks import GATE_FAILED, retried_task, tell
from rlhf_core.gates.gate import Gate, Verdict, blocked, judge
from rlhf_core.metrics.estimates import Estimate


class StoppedByGate(Exception):
    """A gate stopped the ladder; exit code 3."""

    def __init__(self, stage: str, verdicts: Sequence[Verdict]) -> None:
        self.stage = stage
        self.verdicts = list(verdicts)
        reasons = "; ".join(verdict.explanation for verdict in verdicts)
        names = ", ".join(verdict.gate for verdict in verdicts)
        super().__init__(f"stopped by gate {names} because {reasons}")


class Judgeable(Protocol):
    """What gates judge: the versions of a stage, or the data of a climb."""

    @property
    def stage(self) -> str:
        """What the verdicts are kept under."""

    @property
    def label(self) -> str:
        """What is judged, as people write it."""

    @property
    def subject(self) -> str:
        """What alerts name."""

    @property
    def estimates(self) -> Mapping[str, Estimate]:
        """The figures."""


def judge_stage(record: StageRecord, gates: Sequence[Gate], config: GatesConfig, context: RunContext) -> list[Verdict]:
    """As `judge_figures` for a finished stage, whose versions get the verdicts as tags and in their descriptions."""
    verdicts = judge_figures(record, gates, config, context)
    failed = bool(blocked(verdicts, abstain_blocks=config.abstain_blocks))
    mark_versions(record, [verdict.model_dump(mode="json") for verdict in verdicts], failed, context)
    return verdicts


def judge_figures(judged: Judgeable, gates: Sequence[Gate], config: GatesConfig, context: RunContext) -> list[Verdict]:
    """Judge figures, publish the verdicts to Prefect and MLflow, and tell of what blocks.

    Args:
        judged: what has the figures.
        gates: what it must show.
        config: what counts as blocked.
        context: where the climb's run and registry are.

    Returns:
        One verdict per gate.
    """
    verdicts = judge(gates, judged.estimates)
    rows = [verdict.model_dump(mode="json") for verdict in verdicts]
    publish_verdicts(judged.stage, judged.label, rows, context)
    if stopping := blocked(verdicts, abstain_blocks=config.abstain_blocks):
        reasons = {verdict.gate: verdict.explanation for verdict in stopping}
        tell(GATE_FAILED, context.project, f"rlhf.{judged.subject}", {"version": judged.label, **reasons})
    return verdicts


def enforce(stage: str, verdicts: Sequence[Verdict], config: GatesConfig) -> None:
    """Stop the ladder at a failed gate, unless the configuration only asks for advice.

    Raises:
        StoppedByGate: naming every gate that blocks, and why.
    """
    stopping = blocked(verdicts, abstain_blocks=config.abstain_blocks)
    if stopping and config.mode == "enforce":
        raise StoppedByGate(stage, stopping)


@retried_task("publish-verdicts")
def publish_verdicts(stage: str, label: str, verdicts: list[dict[str, Any]], context: RunContext) -> None:
    """A table in Prefect, JSON in the ladder's run; safe to try again."""
    create_table_artifact(
        key=f"gates-{stage}",
        table=[{name: verdict[name] for name in ("gate", "status", "explanation")} for verdict in verdicts],
        description=f"Gate verdicts on {label}",
    )
    context.registry().client.log_dict(context.run_id, {"verdicts": verdicts}, f"gates/{stage}.json")


@retried_task("mark-versions")
def mark_versions(record: StageRecord, verdicts: list[dict[str, Any]], failed: bool, context: RunContext) -> None:
    """Tags and descriptions of the versions; safe to try again."""
    registry = context.registry()
    tags = {f"{GATE_PREFIX}{verdict['gate']}": verdict["status"] for verdict in verdicts}
    registry.tag_versions(record.models.values(), {**tags, STATUS_TAG: FAILED if failed else PASSED})
    describe_versions(record, [Verdict.model_validate(verdict) for verdict in verdicts], registry)
