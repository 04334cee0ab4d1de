"""Hold every causal family against stock `transformers`: `python -m benchmarks.families`, or `fill` for the page."""

import time
from pathlib import Path

import torch
import typer

from benchmarks.common.places import NoPlace, fill_places
from benchmarks.families.configurations import FAMILIES
from benchmarks.families.table import family_table
from benchmarks.families.trial import try_families

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "models.md"

app = typer.Typer(add_completion=False)


@app.callback(invoke_without_command=True)
def show(context: typer.Context) -> None:
    """Print the table, and how long it took."""
    if context.invoked_subcommand is None:
        torch.set_num_threads(1)
        start = time.perf_counter()
        for line in family_table(list(try_families())):
            typer.echo(line)
        typer.echo(f"{len(FAMILIES)} families in {time.perf_counter() - start:.0f} s", err=True)


@app.command()
def fill() -> None:
    """Put the table into its place on the page: the lines between `<!-- families -->` and `<!-- /families -->`."""
    torch.set_num_threads(1)
    try:
        fill_places(PAGE, {"families": family_table(list(try_families()))})
    except NoPlace as error:
        raise typer.BadParameter(str(error)) from None


if __name__ == "__main__":
    app()
