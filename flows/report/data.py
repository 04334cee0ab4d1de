"""The page about ingested data: what came in, what was set aside and why, what the suites saw."""

import io
from collections.abc import Mapping
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table

from data_contracts.drift import Profile
from data_contracts.population import Population
from data_contracts.records import Kind
from flows.clock import Clock
from flows.references import Counts, DataRefs, DatasetRef
from flows.registry import Registry
from rlhf_core.evaluation.estimates import proportion

WIDTH = 140
FILES_SHOWN = 20


def write_page(
    refs: DataRefs,
    profiles: Mapping[Kind, Profile],
    populations: Mapping[str, Population],
    clock: Clock,
    path: Path,
) -> None:
    """Write the page as HTML; it shows counts and names of rules, never a text of the data."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), highlight=False, force_terminal=True)
    console.print("[bold]What became of the data[/bold]")
    console.print(
        "Every record was written, merged into votes or quarantined. Those set aside lie in quarantine.csv, in the"
    )
    console.print(
        "folder of their table, with file, row, rule and mend. This page holds counts and no text of the data."
    )
    console.print(render(refs))
    console.print(_numbers(profiles))
    console.print(_suites(populations))
    console.print(_steps(clock))
    path.write_text(console.export_html(), encoding="utf-8")


def show(refs: DataRefs) -> None:
    """Print what became of all rows, and where the page lies."""
    console = Console(highlight=False)
    console.print(render(refs))
    console.print(f"\nreport: {Path(refs.report) / 'report.html'}", soft_wrap=True)


def keep_data(refs: DataRefs, registry: Registry, run_id: str) -> None:
    """Record tables as inputs of a run, and keep the page about them and the Data Docs with it."""
    registry.log_datasets(run_id, {table.name: table for table in refs.tables})
    registry.client.log_artifact(run_id, str(Path(refs.report) / "report.html"), "data")
    registry.client.log_artifacts(run_id, str(Path(refs.report) / "docs"), "data/docs")


def render(refs: DataRefs) -> Group:
    """Lay out what became of all rows, for a terminal."""
    parts: list[RenderableType] = [_snapshots(refs), _rows(refs)]
    for kind, ref in refs.datasets.items():
        counts = refs.counts[kind]
        if counts.by_rule or counts.left_out:
            parts.append(_aside(ref, counts))
    parts.append(_files(refs))
    ceiling = refs.ceiling
    known = "unknown: no pair has three votes" if ceiling is None else f"{ceiling.value:.3f} on {ceiling.n} pairs"
    parts += [f"[yellow]drift[/yellow] {escape(line)}" for line in refs.drift]
    parts.append(f"\nagreement that a perfect judge would reach with one annotator: {known}")
    return Group(*parts)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _snapshots(refs: DataRefs) -> Table:
    table = _table("snapshots", "table", "digest", "contract", "train", "judge", "test")
    for ref in refs.tables:
        splits = [str(ref.splits.get(name, 0)) for name in ("train", "judge", "test")]
        table.add_row(ref.name, ref.digest[:12], ref.contract, *splits)
    return table


def _rows(refs: DataRefs) -> Table:
    table = _table(
        "records = written + merged + quarantined", "table", "raw rows", "records", "written", "merged", "quarantined"
    )
    for kind, ref in refs.datasets.items():
        counts = refs.counts[kind]
        numbers = (counts.rows, counts.records, counts.written, counts.merged, counts.quarantined)
        table.add_row(ref.name, *map(str, numbers))
    return table


def _aside(ref: DatasetRef, counts: Counts) -> Table:
    table = _table(f"{ref.name}: not used", "what", "count")
    for rule, count in sorted(counts.by_rule.items(), key=lambda item: -item[1]):
        table.add_row(f"quarantined: {rule}", str(count))
    for reason, count in sorted(counts.left_out.items(), key=lambda item: -item[1]):
        table.add_row(f"left out: {escape(reason)}", str(count))
    return table


def _files(refs: DataRefs) -> Table:
    table = _table("where the records come from", "table", "file or data set", "records")
    for kind, counts in refs.counts.items():
        sources = list(counts.sources.items())
        for name, count in sources[:FILES_SHOWN]:
            table.add_row(kind, escape(name), str(count))
        if len(sources) > FILES_SHOWN:
            table.add_row(kind, f"and {len(sources) - FILES_SHOWN} more", "")
    return table


def _numbers(profiles: Mapping[Kind, Profile]) -> Table:
    table = _table("what the tables look like", "table", "number", "value")
    for kind, known in profiles.items():
        for name, (low, middle, high) in known["quantiles"].items():
            table.add_row(kind, f"{name}, median and 5 % to 95 %", f"{middle:.0f}, {low:.0f} to {high:.0f}")
        for name, mean in known["means"].items():
            table.add_row(kind, name, f"{mean:.3f}")
        if "chosen_is_longer" in known["means"]:
            share = proportion(round(known["means"]["chosen_is_longer"] * known["rows"]), known["rows"])
            table.add_row(kind, "chosen_is_longer, 95 % interval", f"{share.lower:.3f} to {share.upper:.3f}")
    return table


def _suites(populations: Mapping[str, Population]) -> Table:
    table = _table("suites (Data Docs in docs/)", "suite", "what would be wrong", "column", "observed", "expected", "")
    for name, population in populations.items():
        for item in population.findings:
            holds = "[green]holds[/green]" if item.holds else "[red]broken[/red]"
            table.add_row(name, item.reason, item.column, item.observed, item.expected, holds)
    return table


def _steps(clock: Clock) -> Table:
    table = _table("cost", "step", "seconds", "largest memory so far, MiB")
    for name, seconds in clock.seconds.items():
        table.add_row(name, f"{seconds:.2f}", f"{clock.peak_mib[name]:.0f}")
    return table
