"""Titled tables of a report, told once for a terminal, a Markdown file and a page."""

from collections.abc import Sequence
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table


class Sheet(NamedTuple):
    """A table of words and numbers.

    Attributes:
        numbers: names of the columns that are aligned to the right.
    """

    title: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    numbers: tuple[str, ...] = ()


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


def _line(cells: Sequence[str]) -> str:
    """A row; a name may hold a mark that would end its cell."""
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
