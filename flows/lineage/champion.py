"""Whether the figures of a version beside its champion follow from the rows on which both were compared."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from flows.lineage.archive import Archive
from flows.lineage.evidence import TEXTS_GONE, RowsDoubtful, format_figure, kept_rows, readable, same
from flows.lineage.finding import AuditFinding
from flows.lineage.shown import shown_tables
from flows.registry.names import champion_evidence, champion_record
from rlhf_core.gates.champion import OVER_CHAMPION, over_champion
from rlhf_core.metrics.champion_evidence import CHAMPION_FIGURES, OF_WORDS
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.paired import Paired

PairedFigures = dict[str, Paired]

SIDES = ("challenger", "champion", "between")


class BesideChampion(NamedTuple):
    """The figures of a version beside its champion as a run recorded them, and those that its rows give.

    Attributes:
        recorded: None where the run compared nothing.
        again: what the rows say.
        findings: on these.
    """

    recorded: PairedFigures | None
    again: PairedFigures
    findings: list[AuditFinding]

    def estimates(self, asked: Sequence[str]) -> dict[str, Estimate]:
        """What gates are told: the figures of the rows where there are any, else the recorded ones."""
        if self.recorded is None:
            return {}
        changed = {name: each for name, each in self.again.items() if not _same(each, self.recorded.get(name))}
        return over_champion(self.recorded | changed, asked)

    @property
    def known(self) -> set[str]:
        """Metrics of gates that the rows give."""
        return {f"{name}{OVER_CHAMPION}" for name in self.again}


def beside_champion(archive: Archive, label: str, run_id: str, stage: str) -> BesideChampion:
    """Compute again what a run said of a version beside its champion.

    Args:
        archive: where the run is.
        label: of the version.
        run_id: of the pipeline.
        stage: of the version.
    """
    name = label.rpartition("/")[0]
    document = archive.document(run_id, champion_record(name))
    if document is None:
        return BesideChampion(None, {}, [])
    try:
        recorded = TypeAdapter(PairedFigures).validate_json(json.dumps(document["figures"]))
        digests = dict(document.get("evidence", {}))
    except (AttributeError, KeyError, TypeError, ValueError, ValidationError):
        detail = f"{champion_record(name)} of run {run_id} holds what is no comparison"
        return BesideChampion({}, {}, [AuditFinding(label, "champion", "altered", detail)])
    if not recorded:
        return BesideChampion(recorded, {}, [])
    try:
        kept = kept_rows(archive, label, run_id, digests)
        again, why = _again(kept, name, stage)
    except RowsDoubtful as doubt:
        return BesideChampion(recorded, {}, [doubt.finding])
    except KeyError as absent:
        detail = f"{absent} is not among the rows of run {run_id}"
        return BesideChampion(recorded, {}, [AuditFinding(label, "champion", "missing", detail)])
    rows = sum(table.num_rows for table in kept.values())
    shown = shown_tables(archive, label, run_id, kept)
    return BesideChampion(recorded, again, [*_findings(label, run_id, recorded, again, why, rows), *shown])


def _again(kept: Mapping[str, pa.Table], name: str, stage: str) -> tuple[PairedFigures, str]:
    """The figures that rows give, and why not more of them."""
    prefix = champion_evidence(name, "")
    tables, hashed = readable({table.removeprefix(prefix): rows for table, rows in kept.items()})
    if not kept:
        return {}, "no rows were kept"
    if tables is None:
        return {}, TEXTS_GONE
    figures = CHAMPION_FIGURES[stage](tables).figures
    return {figure: each for figure, each in figures.items() if not (hashed and figure in OF_WORDS)}, TEXTS_GONE


def _findings(
    label: str, run_id: str, recorded: PairedFigures, again: PairedFigures, why: str, rows: int
) -> Iterator[AuditFinding]:
    wrong = sorted(name for name, each in again.items() if not _same(each, recorded.get(name)))
    for name in wrong:
        detail = f"run {run_id}: recorded {_worded(recorded.get(name))}, the rows give {_worded(again[name])}"
        yield AuditFinding(label, f"figure {name}{OVER_CHAMPION}", "differs", detail)
    if again and not wrong:
        detail = f"{len(again)} of {len(recorded)} figures beside the champion follow from {rows} rows"
        yield AuditFinding(label, "champion", "holds", detail)
    if left := sorted(recorded.keys() - again.keys()):
        detail = f"{len(left)} of {len(recorded)} figures beside the champion, as {why}: {', '.join(left)}"
        yield AuditFinding(label, "champion", "not recomputable", detail)


def _same(figure: Paired, other: Paired | None) -> bool:
    return other is not None and all(
        one is its or (one is not None and same(one, its))
        for one, its in ((getattr(figure, side), getattr(other, side)) for side in SIDES)
    )


def _worded(figure: Paired | None) -> str:
    if figure is None:
        return "nothing"
    sides = {side: getattr(figure, side) for side in SIDES}
    return ", ".join(f"{side} {format_figure(each)}" for side, each in sides.items() if each is not None)
