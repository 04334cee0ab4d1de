"""What a part of the page is made of: sentences, charts with how to read them, tables, and texts of the data."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from flows.report import Sheet
from rlhf_core.metrics.estimates import Estimate


class Chart(NamedTuple):
    """A picture, as `charts` specify it, and the sentence that says how to read it."""

    title: str
    specification: str
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


def numbers(*values: float) -> list[str]:
    """Numbers with the same decimals: three digits of the largest that count."""
    largest = max(abs(value) for value in values)
    decimals = 2 if largest == 0 else min(max(2 - math.floor(math.log10(largest)), 0), 4)
    return [f"{value:,.{decimals}f}" for value in values]


def interval(figure: Estimate) -> str:
    """A figure with its interval."""
    if not figure.has_interval:
        return numbers(figure.value)[0]
    if figure.lower == figure.upper:
        return f"{figure.value:.3g}"
    value, lower, upper = numbers(*figure[:3])
    return f"{value} [{lower}, {upper}]"


def percent(figure: Estimate) -> str:
    """A share with its interval, in percent."""
    if not figure.has_interval or figure.lower == figure.upper:
        return f"{100 * figure.value:.0f} %"
    return f"{100 * figure.value:.0f} % [{100 * figure.lower:.0f}, {100 * figure.upper:.0f}]"


def chosen(figures: Mapping[str, Estimate], titles: Mapping[str, str]) -> list[tuple[str, Estimate]]:
    """Those figures that were measured, by their titles, in the order of these."""
    return [(title, figures[name]) for name, title in titles.items() if name in figures]
