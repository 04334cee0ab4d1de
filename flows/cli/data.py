"""Commands that look at raw data for one question."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.common import quietly


def raters(
    path: Annotated[Path, typer.Argument(help="Configuration, or file, folder or glob of preferences.")],
    gold: Annotated[Path | None, typer.Option(help="File of pairs whose better answer is known.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Say of each who labelled how far others agree, who likes length, and who answers at random."""
    with quietly():
        from flows.data.rater_look import look_at_raters

        look_at_raters(path, gold=gold, as_json=as_json)
