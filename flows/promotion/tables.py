"""Tables of a promotion and of the history of champions, for a terminal."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table

from flows.promotion.history import PromotionRecord
from flows.promotion.promote import Proposal
from flows.report import format_estimate
from rlhf_core.metrics.estimates import Estimate

if TYPE_CHECKING:
    from flows.promotion.comparison import Comparison


DIFFERENCES_SHOWN = 12


def show_proposal(proposal: Proposal, console: Console) -> None:
    """Say which version may replace which, and what went into one only."""
    champion = proposal.champion.label if proposal.champion else "none yet"
    console.print(f"version   {proposal.version.label}\nchampion  {champion}")
    for reason in proposal.blocking:
        console.print(f"[red]{escape(reason)}[/red]")
    if proposal.differences:
        console.print("\nnot the same as in the champion:")
        for line in proposal.differences[:DIFFERENCES_SHOWN]:
            console.print(f"  {escape(line)}")
        if (more := len(proposal.differences) - DIFFERENCES_SHOWN) > 0:
            console.print(f"  and {more} more")


def comparison_table(comparison: "Comparison", other: str = "champion") -> Group:
    """The paired figures with what to know when reading them; `other` is what the version is compared with."""
    parts: list[RenderableType] = [""]
    if comparison.figures:
        table = Table(
            title=f"on {comparison.on} [95 % interval]", title_justify="left", box=SIMPLE_HEAD, show_edge=False
        )
        for column in ("figure", "version", other, f"version against {other}", "n"):
            table.add_column(column)
        for name, paired in comparison.figures.items():
            sides = (paired.challenger, paired.champion, paired.between)
            table.add_row(name, *map(_cell, sides), str(paired.between.n))
        parts.append(table)
    return Group(*parts, *map(escape, comparison.notes))


def _cell(estimate: Estimate | None) -> str:
    return "" if estimate is None else escape(format_estimate(estimate))


def show_history(promotions: Sequence[PromotionRecord], console: Console) -> None:
    """List moves of the alias, the newest first."""
    table = Table(box=SIMPLE_HEAD, show_edge=False)
    for column in ("when, UTC", "model", "from", "to", "how", "by", "why"):
        table.add_column(column, overflow="fold")
    for promotion in promotions:
        how = f"{promotion.how}, forced" if promotion.forced else promotion.how
        cells = (promotion.model, promotion.previous or "-", promotion.version, how, promotion.by, promotion.why or "-")
        table.add_row(f"{promotion.when:%Y-%m-%d %H:%M}", *map(escape, cells))
    console.print(table)
