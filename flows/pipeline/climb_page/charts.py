"""Charts of a climb as Altair specifies them; colours are those of the page, by day and by night."""

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import halfnorm

from rlhf_core.metrics.calibration import BAND
from rlhf_core.metrics.estimates import Estimate

WIDTH, HEIGHT = 300, 190

INK, DIM, LINE, SHADE = "var(--ink)", "var(--dim)", "var(--line)", "var(--shade)"

COLOURS = ("var(--one)", "var(--two)", "var(--three)", "var(--four)")

LABELS = 190
"""Widest label of a row, in pixels."""

Points = Sequence[tuple[float, float]]

Ranges = Sequence[tuple[str, Estimate]]
"""Rows of a chart: what was measured, and the figure."""


def specified(chart: alt.TopLevelMixin) -> str:
    """A chart as JSON of Vega-Lite in one line; drawn, it stands inside of a page and scales with its column."""
    axis = {"labelColor": DIM, "titleColor": DIM, "gridColor": LINE, "domainColor": LINE, "tickColor": LINE}
    fonts = {"labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal"}
    legend = {"orient": "top", "title": None, "labelColor": INK, "labelFontSize": 11, "labelLimit": 300, "columns": 2}
    config = {
        "background": "transparent",
        "font": "system-ui, 'DejaVu Sans', sans-serif",
        "view": {"stroke": None},
        "axis": {**axis, **fonts, "labelLimit": LABELS, "tickCount": 5},
        "legend": legend,
        "autosize": {"type": "pad", "contains": "content"},
    }
    return json.dumps({**chart.to_dict(validate=False), "config": config})


def lines(
    curves: Mapping[str, Points],
    x: str,
    y: str,
    *,
    bounds: Sequence[tuple[float, float, float]] = (),
    stop: float | None = None,
    level: float | None = None,
) -> str:
    """Curves over a common axis.

    Args:
        curves: points by name.
        x: title of the axis.
        y: title of the axis.
        bounds: interval at each x, drawn below the curves.
        stop: where the result was taken, None where that is unknown.
        level: a height to compare with.
    """
    rows = [
        {"x": at, "y": value, "curve": name, "place": place}
        for name, points in curves.items()
        for place, (at, value) in enumerate(points)
    ]
    colour = alt.Color("curve:N", scale=alt.Scale(domain=list(curves), range=list(COLOURS[: len(curves)])))
    if len(curves) == 1:
        colour = colour.legend(None)
    across, up = alt.X("x:Q", title=x), alt.Y("y:Q", title=y, scale=alt.Scale(zero=False))
    layers: list[alt.Chart] = []
    if bounds:
        ends = [{"x": at, "lower": lower, "upper": upper} for at, lower, upper in bounds]
        band = _of(ends).mark_area(color=COLOURS[1], opacity=0.15, aria=False)
        layers.append(band.encode(across, alt.Y("lower:Q", title=y), alt.Y2("upper:Q")))
    if level is not None:
        layers.append(_of([{"y": level}]).mark_rule(color=DIM, strokeDash=[3, 3]).encode(alt.Y("y:Q")))
    if stop is not None:
        layers.append(_of([{"x": stop}]).mark_rule(color=INK, strokeDash=[5, 3]).encode(alt.X("x:Q")))
    points = _of(rows)
    layers.append(points.mark_line(strokeWidth=1.8, aria=False).encode(across, up, colour, alt.Order("place:Q")))
    layers.append(points.mark_circle(size=22, opacity=1).encode(across, up, colour))
    return specified(alt.layer(*layers).properties(width=WIDTH, height=HEIGHT))


def ranges(rows: Ranges, title: str, *, rule: float | None = None, log: bool = False) -> str:
    """Figures below each other, each a point with its interval; an exact one is a point alone."""
    shown = [
        {"what": what, "value": item.value, "lower": item.lower, "upper": item.upper}
        if item.has_interval
        else {"what": what, "value": item.value}
        for what, item in rows
    ]
    scale = alt.Scale(type="log") if log else alt.Scale(zero=False)
    axis = alt.Axis(values=[0.1, 0.25, 0.5, 1, 2, 4, 10]) if log else alt.Axis()
    down = alt.Y("what:N", title=None, sort=None)
    layers = [
        _of(shown)
        .mark_rule(color=COLOURS[0], strokeWidth=3, opacity=0.45, aria=False)
        .encode(alt.X("lower:Q", title=title, scale=scale, axis=axis), alt.X2("upper:Q"), down),
        _of(shown)
        .mark_circle(color=COLOURS[0], size=60, opacity=1)
        .encode(alt.X("value:Q", title=title, scale=scale, axis=axis), down),
    ]
    if rule is not None:
        layers.insert(0, _of([{"x": rule}]).mark_rule(color=DIM, strokeDash=[3, 3]).encode(alt.X("x:Q", scale=scale)))
    return specified(alt.layer(*layers).properties(width=WIDTH - 90, height=alt.Step(24)))


def margins(deltas: ArrayLike, spread: float) -> str:
    """How large the margins of held-out pairs are, with the recipe's band and those of a calibrated model.

    Args:
        deltas: margins chosen - rejected, shape ``[N]``, calibrated logits.
        spread: standard deviation of a calibrated model's margins, of which it shows as many.
    """
    sizes = np.abs(np.asarray(deltas))
    counts, edges = np.histogram(sizes, bins=36, range=(0.0, max(float(sizes.max()), 1.125 * BAND[1])))
    bars = [
        {"x": float(start), "end": float(end), "pairs": int(count)}
        for start, end, count in zip(edges, edges[1:], counts, strict=False)
    ]
    expected = halfnorm(scale=spread).cdf
    line = [
        {"x": float(start + end) / 2, "pairs": float(sizes.size * (expected(end) - expected(start)))}
        for start, end in itertools.pairwise(edges)
    ]
    across = alt.X("x:Q", title="|Δ|, calibrated logits", bin="binned")
    band = _of([{"x": BAND[0], "end": BAND[1]}]).mark_rect(color=SHADE, opacity=1, aria=False)
    drawn = _of(bars).mark_bar(color=COLOURS[0], opacity=0.85, binSpacing=1)
    return specified(
        alt.layer(
            band.encode(across, alt.X2("end:Q")),
            drawn.encode(across, alt.X2("end:Q"), alt.Y("pairs:Q", title="held-out pairs")),
            _of(line).mark_line(color=COLOURS[1], strokeDash=[5, 3]).encode(alt.X("x:Q"), alt.Y("pairs:Q")),
        ).properties(width=WIDTH, height=HEIGHT)
    )


def reliability(curves: Mapping[str, Points]) -> str:
    """Claimed against observed accuracy, with the diagonal on which both are the same."""
    rows = [{"x": at, "y": value, "curve": name} for name, points in curves.items() for at, value in points]
    scale = alt.Scale(domain=[0.5, 1.0])
    across = alt.X("x:Q", title="claimed: sigmoid of |Δ|", scale=scale)
    up = alt.Y("y:Q", title="share of labels that agree", scale=alt.Scale(zero=False, domainMax=1.0))
    colour = alt.Color("curve:N", scale=alt.Scale(domain=list(curves), range=[COLOURS[3], COLOURS[0]]))
    ends = _of([{"x": 0.5, "y": 0.5}, {"x": 1.0, "y": 1.0}])
    points = _of(rows)
    return specified(
        alt.layer(
            ends.mark_line(color=DIM, strokeDash=[3, 3], aria=False).encode(across, up),
            points.mark_line(strokeWidth=1.2, opacity=0.6, aria=False).encode(across, up, colour),
            points.mark_circle(size=40, opacity=1).encode(across, up, colour),
        ).properties(width=WIDTH, height=HEIGHT)
    )


def shares(seconds: Mapping[str, float]) -> str:
    """What wall time went into, as one bar."""
    names = [f"{part} {value:.0f} s" for part, value in seconds.items()]
    rows = [{"part": name, "seconds": value} for name, value in zip(names, seconds.values(), strict=True)]
    colour = alt.Color("part:N", sort=names, scale=alt.Scale(domain=names, range=list(COLOURS[: len(names)])))
    bar = _of(rows).mark_bar().encode(alt.X("seconds:Q", title="seconds"), colour, alt.Order("part:N"))
    return specified(bar.properties(width=WIDTH, height=40))


def _of(rows: Sequence[Mapping[str, Any]]) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))
