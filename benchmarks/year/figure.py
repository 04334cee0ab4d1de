"""The figure of the year: gold of what people talk to by week, beside what the other two ways would have given."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.year.outcome import Outcome
from benchmarks.year.tables import ARMS

LINES = (("#4477aa", 1.2), ("#ee6677", 3.0), ("#999999", 1.2))
"""Colour and width by arm; the champion lies on what it often is."""


def draw_year(years: Sequence[Outcome], out: Path) -> None:
    """Draw a panel for each seed.

    Args:
        years: at least one.
        out: PNG.
    """
    drawing = Figure(figsize=(10, 3.2 * len(years)), layout="constrained")
    panels = drawing.subplots(len(years), 1, squeeze=False, sharex=True)[:, 0]
    for panel, year in zip(panels, years, strict=True):
        for arm, (colour, width) in reversed(list(zip(ARMS, LINES, strict=True))):
            points = [(record.week, record.worth[arm]) for record in year.records if arm in record.worth]
            panel.plot(*zip(*points, strict=True), color=colour, linewidth=width, label=arm, drawstyle="steps-post")
        for row in year.incidents:
            panel.axvline(row.week, color="#ccbb44" if row.well else "#aa3377", linewidth=0.8, linestyle=":")
            panel.annotate(row.name, (row.week, 0.02), xycoords=("data", "axes fraction"), rotation=90, fontsize=6)
        panel.set(title=year.title, ylabel="gold reward, logits")
    panels[-1].set_xlabel("week")
    panels[0].legend(loc="upper right", fontsize=7)
    out.parent.mkdir(parents=True, exist_ok=True)
    drawing.savefig(out, dpi=150)
