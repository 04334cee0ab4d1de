"""What ingestion would make of the first rows of each table, by the rules of a configuration; nothing is kept."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from flows.config.ladder import LadderConfig
from flows.data.quarantine import RowsRefused
from flows.data.refusal import DataRefused
from flows.data.sources import Read, held_out_prompts, open_sources, typed_paths
from flows.data.step_timer import Clock
from flows.data.tables import Table, make_tables

ROWS = 10_000
"""Raw rows of a table that are looked at, the first ones, and the rest of what is read with the last of them."""


def judge_first_rows(config: LadderConfig) -> Iterator[str]:
    """A line on each table: how many of its first rows ingestion would keep, merge and set aside, and why.

    Whom raters' weights leave out, and what was withdrawn, is known to ingestion only.

    Raises:
        InputError: if a file cannot be read, or its format is not known.
        DataRefused: if ingestion would refuse the rows, and there are no others.
    """
    opened = open_sources(config.data, seed=config.seed)
    firsts = {kind: _first(reads) for kind, reads in opened.items()}
    reads, apart = {kind: taken for kind, (taken, _) in firsts.items()}, held_out_prompts(config.data)
    near = config.contract.near_held_out
    with TemporaryDirectory() as work:
        folder = Path(work)
        tables = make_tables(
            reads, config.shares, config.contract, folder=folder, clock=Clock(), held_out=apart, near=near
        )
    problems = {kind: problem for kind, table in tables.items() for problem in table.problems()}
    if problems and all(whole for _, whole in firsts.values()):
        raise DataRefused(tuple(problems.values()), typed_paths(config.data, problems))
    for kind, table in tables.items():
        yield _told(table, whole=firsts[kind][1])
        if problem := problems.get(kind):
            reasons = problem.reasons if isinstance(problem, RowsRefused) else [str(problem)]
            yield f"warning: ingestion would refuse data.{kind} if all rows were like these: {'; '.join(reasons)}"


def _first(reads: Iterable[Read]) -> tuple[list[Read], bool]:
    """The first batches, and whether they are all."""
    taken: list[Read] = []
    for read in reads:
        if sum(each.batch.rows for each in taken) >= ROWS:
            return taken, False
        taken.append(read)
    return taken, True


def _told(table: Table, *, whole: bool) -> str:
    counts = table.counts
    which = f"all {counts.rows:,}" if whole else f"the first {counts.rows:,}"
    largest = ", ".join(f"{rule} {count:,}" for rule, count in table.quarantine.by_rule.most_common(2))
    aside = f"{counts.quarantined:,} quarantined{f' ({largest})' if largest else ''}"
    kept = f"ingestion would keep {counts.written:,} records, {counts.merged:,} merged, {aside}"
    return f"data.{table.kind}: of {which} rows {kept}"
