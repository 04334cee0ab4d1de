"""How `rlhf history` lists who was champion."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.moves import Promotion


def show_history(promotions: Sequence[Promotion], console: Console) -> None:
    """List moves of the alias, the newest first."""
    table = Table(box=SIMPLE_HEAD, show_edge=False)
    for column in ("when, UTC", "model", "from", "to", "how", "by", "why"):
        table.add_column(column, overflow="fold")
    for move in promotions:
        how = f"{move.how}, forced" if move.forced else move.how
        cells = (move.model, move.previous or "-", move.version, how, move.by, move.why or "-")
        table.add_row(f"{move.when:%Y-%m-%d %H:%M}", *map(escape, cells))
    console.print(table)
