"""What reports share: figures in words, titled tables for a terminal, Markdown and a page, and the look of pages."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jinja2
from markupsafe import Markup
from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment
from rich.table import Table

from rlhf_core.gates.gate import Verdict
from rlhf_core.metrics.estimates import Estimate

_OBEYED = (
    *(set(range(0x20)) - {ord("\n"), ord("\t")}),
    *range(0x7F, 0xA0),
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
)
"""Letters that a terminal obeys: control codes, and those that turn the direction of writing."""

_SIGNS = {code: chr(0x2400 + code) if code < 0x20 else "\N{REPLACEMENT CHARACTER}" for code in _OBEYED}


def visible(text: str) -> str:
    """A text with signs for the letters that a terminal would obey, so that data cannot write what we seem to say."""
    return text.translate(_SIGNS)


def for_reader(text: str) -> str:
    """A text as it is for a program, and as `visible` shows it for a person at a terminal."""
    return visible(text) if sys.stdout.isatty() else text


class Terminal(Console):
    """A console that shows what texts hold, and obeys only what rich itself writes."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Segments of which only control segments hold control codes."""
        return self._shown(super().render(renderable, options))

    def _shown(self, segments: Iterable[Segment]) -> Iterator[Segment]:
        for segment in segments:
            yield segment if segment.control else segment._replace(text=visible(segment.text))


def format_estimate(estimate: Estimate, *, digits: int = 3) -> str:
    """A figure with its 95 % interval; an exact one without, and one that has none says so."""
    if not estimate.has_interval:
        return f"{estimate.value:.{digits}f} (no interval)"
    if estimate.lower == estimate.upper:
        return f"{estimate.value:.{digits}g}"
    return f"{estimate.value:.{digits}f} [{estimate.lower:.{digits}f}, {estimate.upper:.{digits}f}]"


def format_detectable(verdict: Verdict) -> str:
    """The distance from its threshold that a gate's sample shows; nothing where sampling is no matter."""
    return f"{verdict.detectable:.2g}" if verdict.detectable else ""


def warn(line: str) -> None:
    """Tell whoever watches a run what they may want to mend."""
    Terminal(highlight=False, markup=False).print(f"warning: {line}", soft_wrap=True)


def templates(package: str) -> jinja2.Environment:
    """The templates of a package, which escape what they are given; `look` is the style that all pages share."""
    loader = jinja2.ChoiceLoader([jinja2.PackageLoader(package, ""), jinja2.PackageLoader("flows", "")])
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.globals["look"] = verbatim(environment, "style.css")
    return environment


def verbatim(environment: jinja2.Environment, name: str) -> Markup:
    """A file of ours beside the templates, for the inside of a page as it is."""
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, name)[0])  # noqa: S704 our own


class Sheet(NamedTuple):
    """A table of words and numbers.

    Attributes:
        numbers: names of the columns that are aligned to the right.
    """

    title: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    numbers: tuple[str, ...] = ()


def estimate_sheet(title: str, titles: Mapping[str, str], estimates: Mapping[str, Estimate], *, counted: str) -> Sheet:
    """Figures with their intervals.

    Args:
        title: what they are of.
        titles: what each of them means, by name, in order.
        estimates: those that could be measured; the others are unknown.
        counted: what they were measured on.
    """
    rows = [(what, *_cells(estimates.get(name))) for name, what in titles.items()]
    columns = ("figure", "value", "95 % interval", counted)
    return Sheet(title, columns, rows, columns[1:])


def for_terminal(sheet: Sheet) -> Table:
    """The table as rich prints it."""
    title = f"\n{escape(sheet.title)}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for column in sheet.columns:
        table.add_column(column, overflow="fold", justify="right" if column in sheet.numbers else "left")
    for row in sheet.rows:
        table.add_row(*map(escape, row))
    return table


def as_markdown(sheet: Sheet) -> str:
    """The table without its title."""
    marks = ["---:" if column in sheet.numbers else "---" for column in sheet.columns]
    return "\n".join(_line(cells) for cells in (sheet.columns, marks, *sheet.rows))


def _cells(estimate: Estimate | None) -> tuple[str, str, str]:
    if estimate is None:
        return "unknown", "", ""
    interval = f"{estimate.lower:.3f} to {estimate.upper:.3f}" if estimate.has_interval else "none"
    return f"{estimate.value:.3f}", interval, f"{estimate.n:,}"


def _line(cells: Sequence[str]) -> str:
    """A row; a name may hold a mark that would end its cell."""
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
