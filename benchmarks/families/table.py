"""The table of families, as Markdown."""

import math
from collections.abc import Iterator, Sequence

from benchmarks.families.configurations import NOT_BUILT
from benchmarks.families.trial import EXACT, Trial


def family_table(trials: Sequence[Trial]) -> Iterator[str]:
    """A line for each family by name: how it is computed and how exactly, as policy and as reward model; or why not."""
    yield "| `model_type` | computed by | exact to | reward model | exact to |"
    yield "|---|---|---|---|---|"
    untried = [Trial(family, refused=reason) for family, reason in NOT_BUILT.items()]
    for trial in sorted([*trials, *untried]):
        yield f"| {' | '.join(_cells(trial))} |"


def _cells(trial: Trial) -> list[str]:
    name = f"`{trial.family}`"
    if trial.broken:
        return [name, f"**breaks**: {trial.broken}", "", "", ""]
    if trial.refused:
        return [name, f"refused: {trial.refused}", "", "", ""]
    policy = [name, trial.way, exactness(trial.policy_gap)]
    if trial.classifier_refused:
        return [*policy, f"refused: {trial.classifier_refused}", ""]
    return [*policy, trial.classifier, exactness(trial.score_gap)]


def exactness(gap: float) -> str:
    """The limit where a difference stays below it, else the power of ten that it stays below."""
    if gap <= EXACT:
        return f"{EXACT:g}"
    return f"**off by {10.0 ** math.ceil(math.log10(gap)):g}**" if math.isfinite(gap) else "**not finite**"
