"""What each mitigation is worth over seeds: `python -m benchmarks.quality.mitigations run`, then `table`, `figure`."""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common.climbs.pool import ALONE
from benchmarks.common.machine import machine
from benchmarks.common.places import NoPlace, fill_places
from benchmarks.quality.mitigations.arms import RECIPE, SEEDS
from benchmarks.quality.mitigations.figures import FIGURES
from benchmarks.quality.mitigations.record import Record
from benchmarks.quality.mitigations.study import measure, pieces
from benchmarks.quality.mitigations.tables import TABLES, by_arm

RESULTS = Path(__file__).parents[2] / "results" / "mitigations.json"
Results = Annotated[Path, typer.Option(help="JSON of the results.")]
Parts = Annotated[list[str] | None, typer.Option("--part", help=f"Of {', '.join(TABLES)}; all, unless some are named.")]

app = typer.Typer(add_completion=False)


@app.command()
def run(
    storage: Annotated[Path, typer.Option(help="Folder of data and stages; a run that was cut goes on there.")] = Path(
        ".rlhf/mitigations"
    ),
    results: Results = RESULTS,
    workers: Annotated[int, typer.Option(help="Processes of one thread each.")] = os.cpu_count() or 1,
    seeds: Annotated[list[int] | None, typer.Option("--seed", help="Give several.")] = None,
    arms: Annotated[list[str] | None, typer.Option("--arm", help="All, unless some are named.")] = None,
) -> None:
    """Make every record that the results do not hold yet, and write them after each."""
    os.environ |= ALONE  # also of the chains
    everything = pieces(RECIPE, seeds or SEEDS)
    if unknown := set(arms or ()) - {piece.arm.name for piece in everything}:
        raise typer.BadParameter(f"no arm is called {', '.join(sorted(unknown))}")
    known = {record["key"]: record for record in read(results)}
    wanted = [piece for piece in everything if piece.key not in known and (not arms or piece.arm.name in arms)]
    started = time.monotonic()
    for number, record in enumerate(measure(wanted, storage, workers=workers), start=1):
        known[record["key"]] = record
        write(results, list(known.values()), workers=workers)
        spent = time.monotonic() - started
        typer.echo(
            f"{spent:4.0f} s, {number} of {len(wanted)}: {record['arm']}, seed {record['seed']}. {record['error']}"
        )


@app.command()
def table(results: Results = RESULTS, parts: Parts = None) -> None:
    """Print what is known as Markdown."""
    by = by_arm(read(results))
    for name in parts or TABLES:
        typer.echo(f"<!-- {name} -->")
        for line in TABLES[name](by):
            typer.echo(line)
        typer.echo()


@app.command()
def fill(results: Results = RESULTS, page: Path = Path("docs/evidence/mitigations.md")) -> None:
    """Put all tables into their places on the page: the lines between `<!-- name -->` and `<!-- /name -->`."""
    by = by_arm(read(results))
    try:
        fill_places(page, {name: lines(by) for name, lines in TABLES.items()})
    except NoPlace as mistake:
        raise typer.BadParameter(str(mistake)) from None


@app.command()
def figure(results: Results = RESULTS, out: Path = Path("docs/figures"), parts: Parts = None) -> None:
    """Draw what is known."""
    by = by_arm(read(results))
    out.mkdir(parents=True, exist_ok=True)
    for name in parts or FIGURES:
        FIGURES[name](by).savefig(out / f"mitigations_{name}.png", dpi=150)


def read(results: Path) -> list[Record]:
    """The records of a file; none where there is no file."""
    found: list[Record] = json.loads(results.read_text(encoding="utf-8"))["records"] if results.exists() else []
    return found


def write(results: Path, records: Sequence[Record], *, workers: int) -> None:
    """Put results in the place of older ones, a line for each record."""
    ordered = sorted(records, key=lambda record: (record["arm"], record["seed"]))
    rows = ",\n".join(json.dumps(record) for record in ordered)
    head: dict[str, Any] = {"machine": machine() | {"workers": workers}, "settings": RECIPE.model_dump(mode="json")}
    results.parent.mkdir(parents=True, exist_ok=True)
    part = results.with_suffix(".part")
    part.write_text(f'{json.dumps(head)[:-1]},\n"records": [\n{rows}\n]}}\n', encoding="utf-8")
    part.replace(results)


if __name__ == "__main__":
    app()
