"""Gating: stages and data are judged by their gates, the verdicts published, and the run stopped where they say so."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from prefect.artifacts import create_table_artifact

from flows.config.gates import GatesConfig
from flows.pipeline.against_champion import AgainstChampion
from flows.registry.context import RunContext
from flows.registry.lineage_events import LineageEvents, LineageRun, model_node, new_run_id
from flows.registry.model_card import describe_versions
from flows.registry.names import CHALLENGER, FAILED, GATE_PREFIX, LEFT_OUT, PASSED, STATUS_TAG, verdicts_record
from flows.registry.references import StageRecord
from flows.tasks import GATE_FAILED, retried_task, tell
from rlhf_core.gates.gate import Gate, Verdict, blocked, judge
from rlhf_core.metrics.estimates import Estimate

NAMED = 3
"""Gates at most that the sentence about a stop names; the table of verdicts has all."""


class StoppedByGate(Exception):
    """A gate stopped the ladder; exit code 3."""

    def __init__(self, stage: str, verdicts: Sequence[Verdict]) -> None:
        self.stage = stage
        self.verdicts = list(verdicts)
        named, rest = self.verdicts[:NAMED], self.verdicts[NAMED:]
        more = f" and {len(rest)} more" if rest else ""
        reasons = "; ".join(verdict.explanation for verdict in named)
        names = ", ".join(verdict.gate for verdict in named)
        super().__init__(f"stopped by gate {names}{more} because {reasons}{more}")


class Judgeable(Protocol):
    """What gates judge: the versions of a stage, or the data of a run."""

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


class Judgement(NamedTuple):
    """What gates said of one thing.

    Attributes:
        verdicts: one per gate.
        blocking: those that stop a run where gates are enforced.
    """

    verdicts: list[Verdict]
    blocking: list[Verdict]


def judge_figures(
    judged: Judgeable, gates: Sequence[Gate], beside: AgainstChampion, config: GatesConfig, context: RunContext
) -> Judgement:
    """Judge figures, publish the verdicts to Prefect and MLflow, and alert of what blocks.

    Args:
        judged: what has the figures.
        gates: what it must show.
        beside: its figures against the champion.
        config: what counts as blocked.
        context: where the run and the registry are.
    """
    verdicts = judge(gates, {**judged.estimates, **beside.estimates}, beside.absent)
    judgement = Judgement(verdicts, blocked(verdicts, abstain_blocks=config.abstain_blocks))
    publish_verdicts(judged.stage, judged.label, [verdict.model_dump(mode="json") for verdict in verdicts], context)
    if judgement.blocking:
        reasons = {verdict.gate: verdict.explanation for verdict in judgement.blocking}
        tell(GATE_FAILED, context.project, f"rlhf.{judged.subject}", {"version": judged.label, **reasons})
    return judgement


def enforce(stage: str, blocking: Sequence[Verdict], config: GatesConfig) -> None:
    """Stop the run at verdicts that block, unless the configuration only asks for advice.

    Raises:
        StoppedByGate: naming every gate that blocks, and why.
    """
    if blocking and config.mode == "enforce":
        raise StoppedByGate(stage, blocking)


@retried_task("publish-verdicts")
def publish_verdicts(stage: str, label: str, verdicts: list[dict[str, Any]], context: RunContext) -> None:
    """A table in Prefect, JSON in the ladder's run; safe to try again."""
    create_table_artifact(
        key=f"gates-{stage}",
        table=[{name: verdict[name] for name in ("gate", "status", "explanation")} for verdict in verdicts],
        description=f"Gate verdicts on {label}",
    )
    context.registry().client.log_dict(context.run_id, {"verdicts": verdicts}, verdicts_record(stage))


@retried_task("mark-versions")
def mark_versions(record: StageRecord, judgement: Judgement, context: RunContext) -> None:
    """Verdicts as tags and in the descriptions of a stage's versions, of which those that block lose the alias."""
    registry = context.registry()
    earlier = (registry.client.get_model_version(ref.name, ref.version).tags for ref in record.models.values())
    tags = {name: LEFT_OUT for before in earlier for name in before if name.startswith(GATE_PREFIX)}
    tags |= {f"{GATE_PREFIX}{verdict.gate}": verdict.status for verdict in judgement.verdicts}
    status = FAILED if judgement.blocking else PASSED
    registry.tag_versions(record.models.values(), {**tags, STATUS_TAG: status})
    describe_versions(record, judgement.verdicts, registry)
    if judgement.blocking:
        registry.take_alias(record.models.values(), CHALLENGER)
    run = LineageRun(f"gates.{record.stage}", new_run_id(), context.run_id, {"status": status})
    judged = [model_node(ref, judgement.verdicts) for ref in record.models.values()]
    LineageEvents(context.project, context.lineage.openlineage).tell("COMPLETE", run, judged)
