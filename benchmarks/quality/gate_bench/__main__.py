"""Grade the gates on ladders whose truth is known: `python -m benchmarks.quality.gate_bench run`, then `table`."""

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.common.climbs.pool import GATES, Climbed, climb_all
from benchmarks.common.climbs.recipe import Climb, Recipe
from benchmarks.common.climbs.stages import code_version
from benchmarks.common.machine import machine
from benchmarks.common.places import NoPlace, fill_places
from benchmarks.quality.gate_bench.cases import CASES, Case
from benchmarks.quality.gate_bench.outcome import Outcome, outcome_of
from benchmarks.quality.gate_bench.report import case_table, gate_table, summary_table
from benchmarks.quality.gate_bench.report_card import report_card
from benchmarks.quality.gate_bench.sensitivity import figures, sensitivity_table, trade_off

RESULTS = Path(__file__).parents[2] / "results" / "gate_bench.json"
Results = Annotated[Path, typer.Option(help="JSON of the results.")]

app = typer.Typer(add_completion=False)


@app.command()
def run(
    storage: Annotated[Path, typer.Option(help="Folder of data and stages; a run that was cut goes on there.")] = Path(
        ".rlhf/gate_bench"
    ),
    results: Results = RESULTS,
    workers: Annotated[int, typer.Option(help="Processes of one thread each.")] = os.cpu_count() or 1,
    cases: Annotated[list[str] | None, typer.Option("--case", help="All, unless some are named.")] = None,
) -> None:
    """Climb every case and write what is known after each."""
    chosen = [case for case in CASES if not cases or case.name in cases]
    if unknown := set(cases or ()) - {case.name for case in chosen}:
        raise typer.BadParameter(f"no case is called {', '.join(sorted(unknown))}")
    known = {outcome.name: outcome for outcome in read(results)} if cases else {}
    for outcome in bench(chosen, Recipe(), storage, workers=workers):
        known[outcome.name] = outcome
        write(results, [known[case.name] for case in CASES if case.name in known], workers=workers)
        typer.echo(f"{len(known)} of {len(CASES)}: {outcome.name}, {outcome.seconds:.0f} s of its own")


def bench(cases: Sequence[Case], small: Recipe, storage: Path, *, workers: int) -> Iterator[Outcome]:
    """Climb some cases.

    Args:
        cases: in the order in which they are climbed.
        small: settings that all share.
        storage: folder of data and stages.
        workers: processes.

    Yields:
        What came of each case, as it ends.
    """
    climbs: list[Climb] = []
    owner: list[int] = []
    for index, case in enumerate(cases):
        found = case.climbs(small)
        climbs += found
        owner += [index] * len(found)
    ended: dict[int, dict[int, Climbed]] = defaultdict(dict)
    paid: set[str] = set()
    for number, climbed in climb_all(climbs, storage, workers=workers):
        index = owner[number]
        ended[index][number] = climbed
        if len(ended[index]) == owner.count(index):
            mine = [ended[index][number] for number in sorted(ended[index])]
            new = {kept.key: kept.seconds for one in mine for kept in one.stages.values() if kept.key not in paid}
            paid |= new.keys()
            yield outcome_of(cases[index], mine, sum(new.values()))


@app.command()
def table(results: Results = RESULTS) -> None:
    """Print recall, false alarms and gold, then every case, as Markdown."""
    outcomes = read(results)
    for line in (*summary_table(outcomes), "", *case_table(outcomes)):
        typer.echo(line)


@app.command()
def sensitivity(
    results: Results = RESULTS,
    gate: Annotated[str | None, typer.Option(help="Only this one, at all thresholds: stage/gate.")] = None,
    half: Annotated[str | None, typer.Option(help="choose or report; all unless given.")] = None,
) -> None:
    """Print what moving each threshold would bring and cost, as Markdown; nothing is trained for it."""
    outcomes = [outcome for outcome in read(results) if half in (None, outcome.half)]
    if gate is None:
        lines = sensitivity_table(outcomes)
    else:
        stage, _, name = gate.partition("/")
        known = {(at, found.name): (at, found) for at, of_stage in GATES.items() for found in of_stage}
        if (stage, name) not in known:
            raise typer.BadParameter(f"no gate is called {gate}; there are {', '.join(map('/'.join, known))}")
        lines = trade_off(outcomes, *known[stage, name])
    for line in lines:
        typer.echo(line)


@app.command()
def card(results: Results = RESULTS) -> None:
    """Print what each gate, and each signal, hits, misses and stops for nothing, as Markdown."""
    for line in report_card(read(results)):
        typer.echo(line)


@app.command()
def figure(
    metric: Annotated[str, typer.Argument(help="stage/figure, such as policy/kl_to_sft_nats.")],
    results: Results = RESULTS,
    half: Annotated[str | None, typer.Option(help="choose or report; all unless given.")] = None,
) -> None:
    """Print a figure of every case, the lowest first."""
    stage, _, name = metric.partition("/")
    if stage not in GATES:
        raise typer.BadParameter(f"no stage is called {stage}; there are {', '.join(GATES)}")
    for line in figures([outcome for outcome in read(results) if half in (None, outcome.half)], stage, name):
        typer.echo(line)


@app.command()
def gates() -> None:
    """Print the default gates as Markdown."""
    for line in gate_table():
        typer.echo(line)


@app.command()
def fill(
    results: Results = RESULTS,
    page: Annotated[Path, typer.Option(help="Page of the results.")] = Path("docs/evidence/gate_bench.md"),
    reference: Annotated[Path, typer.Option(help="Page of the gates.")] = Path("docs/reference/gates.md"),
) -> None:
    """Put all tables into their places on both pages: the lines between `<!-- name -->` and `<!-- /name -->`."""
    outcomes = read(results)
    tables = {
        "summary": summary_table(outcomes),
        "cases": case_table(outcomes),
        "card": report_card(outcomes),
        "sensitivity": sensitivity_table(outcomes),
    }
    try:
        fill_places(page, tables)
        fill_places(reference, {"gates": gate_table()})
    except NoPlace as mistake:
        raise typer.BadParameter(str(mistake)) from None


def read(results: Path) -> list[Outcome]:
    """The cases of a file of results; none where there is no file."""
    if not results.exists():
        return []
    return [Outcome.model_validate(row) for row in json.loads(results.read_text(encoding="utf-8"))["cases"]]


def write(results: Path, outcomes: Sequence[Outcome], *, workers: int) -> None:
    """Put results in the place of older ones, a line for each case."""
    rows = ",\n".join(json.dumps(outcome.model_dump(mode="json"), sort_keys=True) for outcome in outcomes)
    head = {
        "machine": machine() | {"workers": workers},
        "code": code_version(),
        "settings": Recipe().model_dump(mode="json"),
    }
    results.parent.mkdir(parents=True, exist_ok=True)
    part = results.with_suffix(".part")
    part.write_text(f'{json.dumps(head)[:-1]},\n"cases": [\n{rows}\n]}}\n', encoding="utf-8")
    part.replace(results)


if __name__ == "__main__":
    app()
