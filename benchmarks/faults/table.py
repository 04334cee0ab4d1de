"""The table of faults: misses first."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

COLUMNS = (
    "fault",
    "times",
    "how climbs ended",
    "steps trained again",
    "weights byte-identical",
    "steps logged twice, missing",
    "runs, versions too many",
    "left behind",
    "all is well",
)


def fault_table(outcomes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Lines of Markdown for outcomes as `Outcome.as_json` gives them, those with problems first."""
    yield f"| {' | '.join(COLUMNS)} |"
    yield f"|{'---|' * len(COLUMNS)}"
    for outcome in sorted(outcomes, key=lambda one: not one["problems"]):
        ended = ", ".join(f"{how} {times}" for how, times in outcome["ended"].items())
        found = outcome["comparison"]
        cells = [
            outcome["fault"],
            outcome["times"],
            ended,
            outcome["lost_steps"],
            *(_compared(found) if found else ("not compared",) * 3),
            outcome["left"],
            "; ".join(outcome["problems"]) or "yes",
        ]
        yield f"| {' | '.join(str(cell).replace('|', '/') for cell in cells)} |"


def _compared(found: Mapping[str, Any]) -> tuple[str, str, str]:
    return (
        "yes" if found["identical"] else "no",
        f"{found['twice']}, {found['missing']}",
        f"{found['spare_runs']}, {found['spare_versions']}",
    )
