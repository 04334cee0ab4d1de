"""Live a year of weekly retraining: `python -m benchmarks.year run`, then `table`, `figure`, `fill`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.common.places import NoPlace, fill_places
from flows.deploy.environment import quiet

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "evidence" / "year.md"

Results = Annotated[Path, typer.Option(help="Folder of the files year-….json.")]

app = typer.Typer(add_completion=False)


@app.callback()
def prepare() -> None:
    """A year of weekly retraining, with incidents and a truth to grade it by."""
    os.environ["OMP_NUM_THREADS"] = "1"
    quiet()  # before the imports of the commands


@app.command()
def run(
    storage: Annotated[Path, typer.Option(help="Folder of years; one that was cut goes on there.")] = Path(".year"),
    seed: Annotated[int, typer.Option(help="Of the world, and of the weeks of all incidents.")] = 1,
    weeks: Annotated[int, typer.Option(min=5, help="After the one in which the team begins.")] = 52,
    until: Annotated[
        int | None, typer.Option(min=0, help="Stop after this week; typed again without it goes on.")
    ] = None,
    tiny: Annotated[bool, typer.Option("--tiny", help="Climbs that learn nothing, to try the program.")] = False,
    costly: Annotated[bool, typer.Option("--costly", help="Only incidents that may cost gold.")] = False,
    stack: Annotated[bool, typer.Option(help="On the stack of `make up`, or with a local registry.")] = True,
    away_seconds: Annotated[float, typer.Option(min=0, help="How long what is away stays away.")] = 60.0,
    results: Results = RESULTS,
) -> None:
    """Live the weeks and grade them; exit code 1 if anything must not be."""
    from benchmarks.year.living import live  # noqa: PLC0415
    from benchmarks.year.outcome import write_outcome  # noqa: PLC0415
    from benchmarks.year.size import SMALL, TINY  # noqa: PLC0415
    from benchmarks.year.tables import week_line  # noqa: PLC0415

    folder, size = storage.absolute() / f"seed-{seed}", TINY if tiny else SMALL
    outcome = live(
        folder,
        size,
        seed=seed,
        weeks=weeks,
        until=weeks if until is None else until,
        stack=stack,
        costly=costly,
        away_seconds=away_seconds,
        tell=lambda record: typer.echo(week_line(record)),
    )
    write_outcome(outcome, results / outcome.file)
    table(results)
    if outcome.problems():
        raise typer.Exit(1)


@app.command()
def table(results: Results = RESULTS) -> None:
    """Print the tables of every seed as Markdown."""
    from benchmarks.year.outcome import read_outcomes  # noqa: PLC0415
    from benchmarks.year.tables import goal_table, incident_table, week_table  # noqa: PLC0415

    years = read_outcomes(results)
    for lines in (goal_table(years), incident_table(years), *map(week_table, years)):
        for line in lines:
            typer.echo(line)
        typer.echo()


@app.command()
def figure(
    results: Results = RESULTS,
    out: Annotated[Path, typer.Option(help="PNG.")] = ROOT / "docs" / "figures" / "year.png",
) -> None:
    """Draw gold by week."""
    from benchmarks.year.figure import draw_year  # noqa: PLC0415
    from benchmarks.year.outcome import read_outcomes  # noqa: PLC0415

    draw_year(read_outcomes(results), out)


@app.command()
def fill(results: Results = RESULTS, page: Annotated[Path, typer.Option(help="Page of the results.")] = PAGE) -> None:
    """Put the tables into their places on the page."""
    from benchmarks.year.outcome import read_outcomes  # noqa: PLC0415
    from benchmarks.year.tables import goal_table, incident_table  # noqa: PLC0415

    years = read_outcomes(results)
    try:
        fill_places(page, {"goals": goal_table(years), "incidents": incident_table(years)})
    except NoPlace as mistake:
        raise typer.BadParameter(str(mistake)) from None


if __name__ == "__main__":
    app()
