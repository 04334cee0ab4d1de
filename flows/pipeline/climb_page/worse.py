"""How many answers got better and worse, and in which part of the prompts, by the judge."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flows.pipeline.climb_page.charts import ranges
from flows.pipeline.climb_page.parts import Chart
from rlhf_core.metrics.estimates import share
from rlhf_core.metrics.win_rate import wins

FEWEST = 10
"""Prompts at least of a part that is drawn."""


def counted(rows: Sequence[Mapping[str, Any]], other: str) -> Iterator[str]:
    """How many answers got better and worse than those of the SFT model, and than those of the other policy.

    Args:
        rows: of every prompt, with `judge_gain` over SFT and the gain `beside` the other, None where not measured.
        other: who that is, in words.
    """
    for name, against in (("judge_gain", "its SFT model"), ("beside", other)):
        gains = [row[name] for row in rows if row[name] is not None]
        if gains:
            better, worse = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
            even = f", {len(gains) - better - worse} even" if better + worse < len(gains) else ""
            yield f"Against {against} {better} of {len(gains)} answers got better by the judge, {worse} worse{even}."


def by_part(rows: Sequence[Mapping[str, Any]], slices: Sequence[str], other: str) -> Iterator[Chart]:
    """Where answers win, by source, length and topic of the prompt, the worst first.

    It is against the other policy where that was scored, else against the SFT model.
    """
    beside = any(row["beside"] is not None for row in rows)
    name, against = ("beside", other) if beside else ("judge_gain", "its SFT model")
    measured = [(row["slices"], row[name]) for row in rows if row[name] is not None]
    parts = {part: [gain for names, gain in measured if part in names] for part in slices}
    drawn = [
        (f"{part} ({len(gains)})", share(wins(gains, [0.0] * len(gains))))
        for part, gains in parts.items()
        if len(gains) >= FEWEST
    ]
    drawn.sort(key=lambda row: row[1].value)
    if drawn:
        how = (
            f"Share of answers that the judge finds better than those of {against}, by part of the prompts, with how "
            "many there are. A whole bar left of the dashed half is a part that got worse."
        )
        yield Chart("Where it loses, where it wins", ranges(drawn, "share of answers that win", rule=0.5), how)
