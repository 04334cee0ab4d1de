"""Versions of a climb that were trained on data that have been withdrawn, which get no alias."""

from collections.abc import Iterable

from flows.lineage.archive import Archive
from flows.lineage.withdrawn_marks import mark_made, settle_marks
from flows.registry.context import RunContext
from flows.registry.references import DataRefs, StageRecord
from flows.tasks import retried_task
from rlhf_core.gates.gate import Verdict

NOT_WITHDRAWN = "not-withdrawn"
"""What stops a climb whose version was trained on withdrawn data; no configuration has it or leaves it out."""


@retried_task("look-for-withdrawals")
def settle_marks_of(data: DataRefs, context: RunContext) -> None:
    """Let marks of versions follow from data that were read anew: the same tables may need no withdrawn row."""
    registry = context.registry()
    if data.ladder_run == context.run_id:
        settle_marks(Archive(registry.client), context.project, registry)


def trained_on_withdrawn(records: Iterable[StageRecord], context: RunContext) -> list[Verdict]:
    """Mark what was trained on withdrawn data, and say so as verdicts that block; the records in their order."""
    archive = Archive(context.registry().client)
    said = {
        sentence: record
        for record in records
        for sentence in mark_made(archive, record.models.values(), context.project)
    }
    return [_verdict(record, sentence) for sentence, record in said.items()]


def _verdict(record: StageRecord, sentence: str) -> Verdict:
    return Verdict(
        gate=NOT_WITHDRAWN,
        status="fail",
        metric="withdrawn_data",
        direction="below",
        threshold=1.0,
        value=1.0,
        lower=1.0,
        upper=1.0,
        n=1,
        explanation=f"{record.model.label} was trained on {sentence}",
    )
