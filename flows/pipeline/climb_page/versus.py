"""Two versions of a model on one page: the climb of the first, with the second in the champion's place."""

from collections.abc import Iterator, Mapping

from flows.config.ladder import LadderConfig
from flows.lineage.archive import Archive
from flows.lineage.page import servers
from flows.pipeline.climb_page.climb import changes, find_climb, read_climb, read_version
from flows.pipeline.climb_page.decision import Decision
from flows.pipeline.climb_page.page import as_page
from flows.pipeline.climb_page.parts import interval
from flows.promotion.comparison import Comparison, compare
from flows.registry.client import Registry
from flows.registry.references import ModelRef
from rlhf_core.metrics.champion_evidence import ANSWERS

DECIDING: Mapping[str, tuple[str, float, int]] = {
    "policy": ("judge_win_rate", 0.5, 1),
    "reward-model": ("agreement", 0.0, 1),
    "judge": ("agreement", 0.0, 1),
    "sft": ("loss_nats", 0.0, -1),
}
"""The figure that says which of two versions is better, by stage: its name, where both are even, which way is up."""


def versus_page(registry: Registry, config: LadderConfig, ours: ModelRef, theirs: ModelRef) -> tuple[Comparison, str]:
    """Measure two versions of a model on the same held-out rows, and make the page of the first beside the second.

    Args:
        registry: where both are.
        config: lengths and sampling.
        ours: whose climb the page is of.
        theirs: another version of the same name.

    Returns:
        What was found, and the page.
    """
    comparison, rows, _ = compare(registry, config, ours, theirs)
    archive, stage = Archive(registry.client), ours.name.removeprefix(f"{config.project}-")
    climb = read_climb(registry.client, find_climb(registry.client, ours.label, config.project))
    made, other = (read_version(archive, ref.label, curves=ref is ours and stage == "policy") for ref in (ours, theirs))
    climb = climb._replace(
        stages={**climb.stages, stage: made},
        champions={stage: other},
        changed={stage: changes(registry.client, made, other)},
        comparisons={stage: comparison},
        beside=rows.get(ANSWERS) if stage == "policy" else None,
        rival=theirs.label,
    )
    return comparison, as_page(climb, decide_between(ours.label, theirs.label, stage, comparison), servers())


def decide_between(ours: str, theirs: str, stage: str, comparison: Comparison) -> Decision:
    """Which of two versions is better beyond noise, by the figure that decides on their stage."""
    name, even, up = DECIDING.get(stage, ("", 0.0, 1))
    if name not in comparison.figures:
        return Decision("open", f"{ours} and {theirs} could not be compared.", comparison.notes)
    between = comparison.figures[name].between
    worst, best = sorted((up * (between.lower - even), up * (between.upper - even)))
    measured = f"{name.replace('_', ' ')} {interval(between)}"
    reasons = list(_differences(comparison))
    if worst > 0:
        return Decision("good", f"{ours} is better than {theirs}: {measured}.", reasons)
    if best < 0:
        return Decision("bad", f"{ours} is worse than {theirs}: {measured}.", reasons)
    return Decision("open", f"Nothing shows {ours} better or worse than {theirs}: {measured}.", reasons)


def _differences(comparison: Comparison) -> Iterator[str]:
    yield f"On {comparison.on}, the same for both."
    for name, paired in comparison.figures.items():
        if paired.challenger is not None and paired.champion is not None:
            both = f"{interval(paired.challenger)} and {interval(paired.champion)}"
            yield f"{name.replace('_', ' ')}: {both}, {interval(paired.between)} between them."
    yield from (f"{note}." for note in comparison.notes)
