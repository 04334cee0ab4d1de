"""Statements of toys that are registered by the thousand: by the functions and of the kinds that a climb leaves."""

from collections.abc import Mapping

from flows.attestation.statement import JUDGEMENT, PROVENANCE
from flows.config.gates import GatesConfig
from flows.pipeline.stated import give_alias
from flows.registry.client import Registry
from flows.registry.held import plain
from flows.registry.names import CHALLENGER, GATED, PASSED
from flows.registry.references import ModelRef
from flows.registry.statements import (
    conclude,
    holds_models,
    holds_run,
    holds_versions,
    provenance,
    state,
    version_subject,
)
from rlhf_core.gates.gate import judge
from rlhf_core.metrics.estimates import point


def state_toys(registry: Registry, made: Mapping[str, ModelRef], climb: str) -> None:
    """End the runs of a ladder of toys: a statement for each stage, judgement, alias and the climb.

    Args:
        registry: of their project.
        made: versions by stage.
        climb: the run around them.
    """
    for stage, ref in made.items():
        _state_stage(registry, stage, ref)
        if stage in GATED:
            _state_judgement(registry, stage, ref, climb)
    give_alias(registry, [made[stage] for stage in GATED], CHALLENGER, climb)
    conclude(registry, registry, climb, "ladder", "FINISHED", map(version_subject, made.values()))


def _state_stage(registry: Registry, stage: str, ref: ModelRef) -> None:
    registry.note_end(ref.run_id, "FINISHED")
    holds = {
        **holds_run(registry, ref.run_id),
        **holds_versions(registry, [ref]),
        **holds_models(registry, [ref]),
    }
    run = registry.client.get_run(ref.run_id)
    predicate = provenance("stage", parameters={"stage": stage}, materials=[], run=run, code="0+0")
    state(registry, PROVENANCE, [version_subject(ref)], predicate, holds)
    registry.end_as_noted(run)


def _state_judgement(registry: Registry, stage: str, ref: ModelRef, climb: str) -> None:
    gates = getattr(GatesConfig(), stage.replace("-", "_"))
    figures = {gate.metric: point(gate.threshold, 500) for gate in gates}
    predicate = {
        "judged": stage,
        "run": climb,
        "measuredBy": ref.run_id,
        "verdict": PASSED,
        "gates": [gate.model_dump(mode="json") for gate in gates],
        "estimates": {name: estimate.as_json() for name, estimate in figures.items()},
        "absent": {},
        "verdicts": [verdict.model_dump(mode="json") for verdict in judge(gates, figures)],
    }
    holds = holds_versions(registry, [ref], "tags", "description")
    state(registry, JUDGEMENT, [version_subject(ref)], plain(predicate), holds)
