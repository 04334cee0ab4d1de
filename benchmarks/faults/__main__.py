"""Inject faults into real climbs: `python -m benchmarks.faults run`, then `table`, or `fill` for the page."""

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.common.machine import machine
from benchmarks.common.places import NoPlace, fill_places
from benchmarks.faults.table import fault_table
from flows.deploy.environment import QUIET, quiet
from flows.deploy.prefect_server import start_server

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks" / "results" / "faults.json"
PAGE = ROOT / "docs" / "evidence" / "reliability.md"

Result = Annotated[Path, typer.Option(help="JSON of what came of each fault.")]

app = typer.Typer(add_completion=False)


@app.command()
def run(
    only: Annotated[list[str] | None, typer.Option(help="Trials; all by default.")] = None,
    kills: Annotated[int, typer.Option(min=6, help="At random moments, over all stages.")] = 60,
    short: Annotated[bool, typer.Option("--short", help="Only one named point of each kind: for CI.")] = False,
    calm: Annotated[Path | None, typer.Option(help="Storage of an undisturbed climb of configs/tiny.yaml.")] = None,
    seed: Annotated[int, typer.Option(help="Of the moments.")] = 0,
    storage: Annotated[Path | None, typer.Option(help="Folder of the climbs; what it holds is not done again.")] = None,
    out: Result = RESULT,
) -> None:
    """Inject faults, and print what came of each; exit code 1 if anything must not be."""
    folder = (storage or Path(tempfile.mkdtemp(prefix="faults-"))).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ |= {**QUIET, "PREFECT_HOME": str(folder / "prefect"), "OMP_NUM_THREADS": "1"}
    quiet()
    start_server()  # one for all climbs, which it does not end with
    from benchmarks.faults.bench import Bench  # noqa: PLC0415  imports Prefect, which reads what is set by now
    from benchmarks.faults.trials import TRIALS, first_points  # noqa: PLC0415

    bench, outcomes = Bench(folder, seed=seed, calm=calm), list[dict[str, Any]]()
    for name in [first_points.__name__] if short else only or TRIALS:
        note = folder / f"{name}-{seed}-{kills}.json"
        if not note.exists():
            trial = first_points if short else TRIALS[name]
            done = [outcome.as_json() for outcome in trial(bench, kills)]
            note.write_text(json.dumps(done), encoding="utf-8")
        outcomes += json.loads(note.read_text(encoding="utf-8"))
        for line in fault_table(outcomes):
            typer.echo(line)
        _keep(out, outcomes, seed)
    if any(outcome["problems"] for outcome in outcomes):
        raise typer.Exit(1)


@app.command()
def table(out: Result = RESULT) -> None:
    """Print the table of what was measured."""
    for line in fault_table(json.loads(out.read_text(encoding="utf-8"))["outcomes"]):
        typer.echo(line)


@app.command()
def fill(out: Result = RESULT) -> None:
    """Put the table into its place on the page."""
    try:
        fill_places(PAGE, {"faults": fault_table(json.loads(out.read_text(encoding="utf-8"))["outcomes"])})
    except NoPlace as error:
        raise typer.BadParameter(str(error)) from None


def _keep(out: Path, outcomes: Sequence[dict[str, Any]], seed: int) -> None:
    """Put outcomes into the file, each in the place of what was measured of the same fault before."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    known = json.loads(out.read_text(encoding="utf-8"))["outcomes"] if out.exists() else []
    measured = {"date": machine()["date"], "commit": commit, "seed": seed}
    rows = {row["fault"]: row for row in (*known, *({**outcome, **measured} for outcome in outcomes))}
    document = {"machine": machine(), "outcomes": list(rows.values())}
    out.write_text(json.dumps(document, indent=1), encoding="utf-8")


if __name__ == "__main__":
    app()
