"""A version beside the champion that it would replace, as figures that gates judge."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from prefect.cache_policies import NO_CACHE

from flows.config.ladder import LadderConfig
from flows.promotion.comparison import Comparison, compare
from flows.registry.context import RunContext
from flows.registry.references import DataRefs, ModelRef, StageRecord
from flows.tasks import retried_task
from rlhf_core.gates.champion import OVER_CHAMPION
from rlhf_core.gates.gate import Gate
from rlhf_core.metrics.estimates import Estimate

NOTHING = Estimate(0.0, -float("inf"), float("inf"), 0)
"""A figure that nothing could be measured for: too few samples for any gate."""


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
    asked = [gate.metric for gate in gates if gate.metric.endswith(OVER_CHAMPION)]
    if not asked or isinstance(made, DataRefs):
        return AgainstChampion()
    version = made.model
    champion = context.registry().champion(version.name)
    if champion is None or champion == version:
        why = "there is no champion to replace" if champion is None else "this is the champion"
        return AgainstChampion(absent=dict.fromkeys(asked, why))
    comparison = Comparison.model_validate(compare_with_champion(version, champion, config, context))
    over = {f"{name}{OVER_CHAMPION}": paired.between for name, paired in comparison.figures.items()}
    nothing = {} if comparison.figures else dict.fromkeys(asked, NOTHING)
    return AgainstChampion(estimates=over | nothing, comparison=comparison)


@retried_task("compare-with-champion", cache_policy=NO_CACHE)
def compare_with_champion(
    challenger: ModelRef, champion: ModelRef, config: LadderConfig, context: RunContext
) -> dict[str, Any]:
    """The `Comparison` of two versions, also kept as JSON in the run; safe to try again."""
    registry = context.registry()
    comparison = compare(registry, config, challenger, champion)
    on = f"{challenger.label} against champion {champion.label}, on {comparison.on}"
    said = comparison.model_copy(update={"on": on}).model_dump(mode="json")
    registry.client.log_dict(context.run_id, said, f"champion/{challenger.name}.json")
    return said
