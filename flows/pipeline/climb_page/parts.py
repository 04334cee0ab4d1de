"""What a part of the page is made of: sentences, charts with how to read them, tables, and texts of the data."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from flows.report import Sheet
from rlhf_core.metrics.estimates import Estimate


class Chart(NamedTuple):
    """A picture and the sentence that says how to read it."""

    title: str
    svg: str
    how: str


class Quote(NamedTuple):
    """Texts of the data beside each other, each with what is said of it."""

    title: str
    texts: Sequence[tuple[str, str]]


class Part(NamedTuple):
    """A part of the page.

    Attributes:
        missing: what was not measured, a sentence each, in place of empty pictures.
    """

    anchor: str
    title: str
    sentences: Sequence[str] = ()
    charts: Sequence[Chart] = ()
    sheets: Sequence[Sheet] = ()
    quotes: Sequence[Quote] = ()
    missing: Sequence[str] = ()


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def interval(figure: Estimate) -> str:
    """A figure with its interval, in three digits."""
    if not figure.has_interval or figure.lower == figure.upper:
        return number(figure.value)
    return f"{number(figure.value)} [{number(figure.lower)}, {number(figure.upper)}]"


def percent(figure: Estimate) -> str:
    """A share with its interval, in percent."""
    if not figure.has_interval:
        return f"{figure.value:.0%}"
    return f"{figure.value:.0%} [{100 * figure.lower:.0f}, {100 * figure.upper:.0f}]"


def chosen(figures: Mapping[str, Estimate], titles: Mapping[str, str]) -> list[tuple[str, Estimate]]:
    """Those figures that were measured, by their titles, in the order of these."""
    return [(title, figures[name]) for name, title in titles.items() if name in figures]
