"""The command that shows the teaching pages."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.common import PORTS, quietly


def explain(
    port: Annotated[int, typer.Option(help="Another one is taken if it is in use.", **PORTS)] = 5060,
    out: Annotated[Path | None, typer.Option(help="Write the pages to this folder instead.")] = None,
) -> None:
    """Open pages to play with until Ctrl-C: scores from choices, the dial of |delta|, the leash of PPO."""
    with quietly():
        from flows.explain.serving import serve_pages, write_pages

        if out is None:
            serve_pages(port)
        else:
            write_pages(out)
            typer.echo(f"{out / 'index.html'}: open it in a browser")
