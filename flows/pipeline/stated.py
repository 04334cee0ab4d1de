"""The statements that a run of the pipeline leaves: what gates said, who got the alias, and how the run ended."""

from collections.abc import Iterable, Sequence
from typing import Any

from flows.attestation.statement import JUDGEMENT, PROMOTION, Subject, digest_of
from flows.config.gates import GatesConfig
from flows.pipeline.against_champion import AgainstChampion
from flows.pipeline.gating import Judgement
from flows.registry.client import Registry
from flows.registry.context import RunContext
from flows.registry.held import alias_address, plain
from flows.registry.names import CHALLENGER, CONFIGURATION, FAILED, PASSED, verdicts_record
from flows.registry.references import DataRefs, ModelRef, StageRecord
from flows.registry.statements import (
    conclude,
    holds_alias,
    holds_versions,
    state,
    table_subject,
    version_subject,
)
from rlhf_core.gates.gate import Gate


def state_judgement(
    made: DataRefs | StageRecord,
    gates: Sequence[Gate],
    beside: AgainstChampion,
    judgement: Judgement,
    config: GatesConfig,
    context: RunContext,
) -> None:
    """Leave a statement of verdicts, with the thresholds and figures that they follow from.

    Args:
        made: what was judged.
        gates: what it had to show.
        beside: its figures against the champion.
        judgement: what they said of it.
        config: what counts as blocked.
        context: where run and registry are.
    """
    registry, figures = context.registry(), {**made.estimates, **beside.estimates}
    refs = list(made.models.values()) if isinstance(made, StageRecord) else []
    holds: dict[str, Any] = holds_versions(registry, refs, "tags", "description")
    if judgement.blocking:
        holds |= {alias_address(ref.name, CHALLENGER): _holder(registry, ref) for ref in refs}
    predicate = {
        "judged": made.stage,
        "run": context.run_id,
        "measuredBy": made.run_id if isinstance(made, StageRecord) else context.run_id,
        "verdict": FAILED if judgement.blocking else PASSED,
        "mode": config.mode,
        "abstainBlocks": config.abstain_blocks,
        "gates": [gate.model_dump(mode="json") for gate in gates],
        "estimates": {name: estimate.as_json() for name, estimate in figures.items()},
        "absent": dict(beside.absent),
        "verdicts": [verdict.model_dump(mode="json") for verdict in judgement.verdicts],
        "files": [verdicts_record(made.stage), CONFIGURATION],
    }
    subjects = [version_subject(ref) for ref in refs] or _tables(made)
    state(registry, JUDGEMENT, subjects, plain(predicate), holds)


def give_alias(registry: Registry, refs: Sequence[ModelRef], alias: str, run_id: str) -> None:
    """Give an alias to versions on behalf of a run, with a statement of it; nothing where there are none."""
    if not refs:
        return
    for ref in refs:
        registry.set_alias(ref, alias)
    predicate = {"alias": alias, "run": run_id, "how": "all gates passed"}
    state(registry, PROMOTION, map(version_subject, refs), predicate, holds_alias(refs, alias))


def state_climb(what: str, status: str, refs: Sequence[ModelRef], context: RunContext) -> None:
    """End a run of the pipeline, with a statement of it and of what its versions are described as by now.

    Args:
        what: the ladder, or the stage that ran alone.
        status: how it ends.
        refs: versions that it stood on.
        context: where it and the registry are.
    """
    registry = context.registry()
    if refs:
        described = holds_versions(registry, refs, "description")
        predicate = {"run": context.run_id, "described": digest_of(described)}
        state(registry, JUDGEMENT, map(version_subject, refs), predicate, described)
    conclude(registry, registry, context.run_id, what, status, map(version_subject, refs))


def _holder(registry: Registry, ref: ModelRef) -> str | None:
    """The version that has the alias of a challenger now."""
    version = registry.client.get_registered_model(ref.name).aliases.get(CHALLENGER)
    return None if version is None else f"{ref.name}/{version}"


def _tables(made: DataRefs | StageRecord) -> Iterable[Subject]:
    return map(table_subject, made.tables) if isinstance(made, DataRefs) else ()
