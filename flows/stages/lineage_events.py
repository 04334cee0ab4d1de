"""What lineage events tell of a stage."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from flows.registry.context import RunContext
from flows.registry.lineage_events import LineageEvents, LineageNode, LineageRun, model_node
from flows.registry.references import DatasetRef, ModelRef, StageRecord
from flows.stages.plan import Plan


@contextmanager
def told_training(plan: Plan, context: RunContext, run_id: str) -> Iterator[None]:
    """Tell that a stage started, and if it does not end well inside."""
    events, run = _run_of(plan.stage, plan.key, context, run_id)
    events.tell("START", run, _inputs(events, plan.datasets.values(), plan.parents.values()))
    with events.ending_ill(run):
        yield


def tell_made(record: StageRecord, context: RunContext) -> None:
    """Tell which versions a stage made, and from what."""
    events, run = _run_of(record.stage, record.key, context, record.run_id)
    inputs = _inputs(events, record.datasets.values(), record.parents.values())
    events.tell("COMPLETE", run, inputs, [model_node(ref) for ref in record.models.values()])


def _run_of(stage: str, key: str, context: RunContext, run_id: str) -> tuple[LineageEvents, LineageRun]:
    events = LineageEvents(context.project, context.lineage.openlineage)
    return events, LineageRun(stage, run_id, context.run_id, {"key": key})


def _inputs(events: LineageEvents, datasets: Iterable[DatasetRef], models: Iterable[ModelRef]) -> list[LineageNode]:
    return [*map(events.snapshot, datasets), *map(model_node, models)]
