"""A version beside the champion that it would replace, as figures that gates judge."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from prefect.cache_policies import NO_CACHE

from flows.config.ladder import LadderConfig
from flows.pipeline.kept_rows import keep_rows
from flows.promotion.comparison import Comparison, compare
from flows.registry.context import RunContext
from flows.registry.names import champion_evidence, champion_record
from flows.registry.references import DataRefs, ModelRef, StageRecord
from flows.tasks import retried_task
from rlhf_core.gates.champion import IS_CHAMPION, NO_CHAMPION, asked_of_champion, over_champion
from rlhf_core.gates.gate import Gate
from rlhf_core.metrics.estimates import Estimate


class AgainstChampion(NamedTuple):
    """What gates know of a version beside the champion.

    Attributes:
        estimates: paired figures of both, by the metrics of gates.
        absent: why there are none, by metric.
        comparison: what was measured, None where there is no other champion or no gate asks.
    """

    estimates: Mapping[str, Estimate] = {}
    absent: Mapping[str, str] = {}
    comparison: Comparison | None = None


def against_champion(
    made: StageRecord | DataRefs, gates: Sequence[Gate], config: LadderConfig, context: RunContext
) -> AgainstChampion:
    """Compare a stage's version with the champion of its name, if gates ask for it.

    Where a champion is there and cannot be compared, each figure has no sample, so that its gate abstains.
    """
    asked = asked_of_champion(gates)
    if not asked or isinstance(made, DataRefs):
        return AgainstChampion()
    version = made.model
    champion = context.registry().champion(version.name)
    if champion is None or champion == version:
        return AgainstChampion(absent=dict.fromkeys(asked, NO_CHAMPION if champion is None else IS_CHAMPION))
    comparison = Comparison.model_validate(compare_with_champion(version, champion, config, context))
    return AgainstChampion(estimates=over_champion(comparison.figures, asked), comparison=comparison)


@retried_task("compare-with-champion", cache_policy=NO_CACHE)
def compare_with_champion(
    challenger: ModelRef, champion: ModelRef, config: LadderConfig, context: RunContext
) -> dict[str, Any]:
    """The `Comparison` of two versions, also kept as JSON in the run, with its rows as evidence; safe to try again."""
    registry, run_id = context.registry(), context.run_id
    comparison, rows, data = compare(registry, config, challenger, champion)
    named = partial(champion_evidence, challenger.name)
    digests = keep_rows(rows, named, [data], challenger, context) if data is not None else {}
    on = f"{challenger.label} against champion {champion.label}, on {comparison.on}"
    said = comparison.model_copy(update={"on": on, "evidence": digests}).model_dump(mode="json")
    registry.client.log_dict(run_id, said, champion_record(challenger.name))
    return said
