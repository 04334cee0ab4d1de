"""Whether the figures of a version follow from the held-out rows that were kept, and MLflow shows these figures."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from flows.lineage.archive import Archive
from flows.lineage.finding import AuditFinding
from flows.lineage.shown import close, shown_metrics, shown_tables
from flows.registry.names import EVIDENCE, HASHED, PROMPT_NUMBER
from flows.registry.runs import ESTIMATES, FINAL
from flows.report import format_estimate
from flows.storage.digests import digests_of
from rlhf_core.metrics import policy_evidence, reward_model_evidence, sft_evidence
from rlhf_core.metrics.estimates import Estimate

EvidenceTables = Mapping[str, pa.Table]

Figures = dict[str, Estimate]

TEXTS_GONE = "digests are kept instead of texts"


class StageFigures(NamedTuple):
    """How the figures of a stage come from its rows.

    Attributes:
        compute: from these, and from figures that rest on something else.
        of_words: those that need the words of texts.
    """

    compute: Callable[[EvidenceTables, Mapping[str, Estimate]], Figures]
    of_words: frozenset[str]


_REWARD_MODEL = StageFigures(reward_model_evidence.reward_model_figures, reward_model_evidence.OF_WORDS)

STAGE_FIGURES: Mapping[str, StageFigures] = {
    "sft": StageFigures(lambda tables, _: sft_evidence.sft_figures(tables), sft_evidence.OF_WORDS),
    "reward-model": _REWARD_MODEL,
    "judge": _REWARD_MODEL,
    "policy": StageFigures(lambda tables, _: policy_evidence.policy_figures(tables), policy_evidence.OF_WORDS),
}


class Measurement(NamedTuple):
    """The figures of a version as a run recorded them, beside those that its rows give.

    Attributes:
        recorded: what the run says.
        again: what its rows say.
        findings: on these, and on what MLflow shows.
    """

    recorded: Figures
    again: Figures
    findings: list[AuditFinding]

    @property
    def figures(self) -> Figures:
        """Those of the rows where the recorded ones do not follow from them, else the recorded ones."""
        return self.recorded | {name: each for name, each in self.again.items() if not same(each, self.recorded[name])}


class RowsDoubtful(ValueError):
    """Rows that are gone, or not what they were; the finding says which."""

    def __init__(self, finding: AuditFinding) -> None:
        super().__init__(finding.detail)
        self.finding = finding


def measurement(
    archive: Archive, label: str, stage: str, run_id: str, digests: Mapping[str, str], model_id: str | None = None
) -> Measurement:
    """Compute the figures of a run again, and hold them against what the run and MLflow say.

    Args:
        archive: where the run is.
        label: of the version that it measured.
        stage: of the version.
        run_id: the run.
        digests: SHA-256 of the files of its rows, by name.
        model_id: the logged model on whose page MLflow shows the figures, if it made one.
    """
    recorded = recorded_figures(archive, run_id)
    if recorded is None:
        nothing = not digests and not archive.metrics(run_id, FINAL, None)["its page"]
        gone = [] if nothing else [AuditFinding(label, "figures", *_unreadable(archive, run_id))]
        return Measurement({}, {}, gone)
    shown = list(shown_metrics(archive, label, run_id, recorded, model_id))
    try:
        tables = kept_rows(archive, label, run_id, digests)
        again, why = _again(tables, stage, recorded)
    except RowsDoubtful as doubt:
        return Measurement(recorded, {}, [doubt.finding, *shown])
    except KeyError as absent:
        detail = f"{absent} is not among the files and figures of run {run_id}"
        return Measurement(recorded, {}, [AuditFinding(label, "figures", "missing", detail), *shown])
    rows = sum(table.num_rows for table in tables.values())
    shown += shown_tables(archive, label, run_id, tables)
    return Measurement(recorded, again, [*_figures(label, run_id, recorded, again, why, rows), *shown])


def kept_rows(archive: Archive, label: str, run_id: str, digests: Mapping[str, str]) -> dict[str, pa.Table]:
    """Tables of a run that have the digests which are told of them.

    Raises:
        RowsDoubtful: if one is gone or has another.
    """
    tables = {}
    for name, digest in digests.items():
        path = f"{EVIDENCE}/{name}.parquet"
        with archive.file(run_id, path) as file:
            if file is None:
                raise RowsDoubtful(AuditFinding(label, "figures", "missing", f"{path} of run {run_id} is gone"))
            if digests_of(file.parent, [file]) != {file.name: digest}:
                detail = f"{path} of run {run_id} is not what it was"
                raise RowsDoubtful(AuditFinding(label, "figures", "altered", detail))
            tables[name] = pq.read_table(file)
    return tables


def readable(tables: EvidenceTables) -> tuple[dict[str, pa.Table] | None, bool]:
    """Rows from which figures can be computed, and whether digests stand in them instead of texts.

    Where they do, each prompt becomes its number in the order of the texts, in which intervals resample prompts; files
    of releases that kept no such number give None.
    """
    hashed = [name for name, table in tables.items() if is_hashed(table)]
    if any(PROMPT_NUMBER not in tables[name].column_names for name in hashed):
        return None, True
    return {**tables, **{name: _numbered(tables[name]) for name in hashed}}, bool(hashed)


def is_hashed(table: pa.Table) -> bool:
    """Whether digests stand in a table of rows instead of texts."""
    return bool((table.schema.metadata or {}).get(b"texts") == HASHED["texts"].encode())


def _numbered(table: pa.Table) -> pa.Table:
    numbers = pc.utf8_lpad(table[PROMPT_NUMBER].cast(pa.string()), 20, padding="0")
    return table.set_column(table.column_names.index("prompt"), "prompt", numbers)


def same(figure: Estimate, other: Estimate | None) -> bool:
    """Whether two figures are one, as far as `close` tells."""
    return other is not None and all(close(one, its) for one, its in zip(figure, other, strict=True))


def recorded_figures(archive: Archive, run_id: str, path: str = ESTIMATES) -> Figures | None:
    """The figures that a run keeps; None where they are gone or are none."""
    document = archive.document(run_id, path)
    try:
        return {name: Estimate.from_json(figure) for name, figure in document.items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _unreadable(archive: Archive, run_id: str) -> tuple[Any, str]:
    if archive.document(run_id, ESTIMATES) is None:
        return "missing", f"{ESTIMATES} of run {run_id} is gone or unreadable"
    return "altered", f"{ESTIMATES} of run {run_id} holds what is no figure"


def _again(tables: EvidenceTables, stage: str, recorded: Figures) -> tuple[Figures, str]:
    """The figures that rows give, and why not more of them."""
    if not tables:
        return {}, "no held-out rows were kept"
    rows, hashed = readable(tables)
    if rows is None:
        return {}, TEXTS_GONE
    compute, of_words = STAGE_FIGURES[stage]
    figures = compute(rows, recorded)
    if hashed:
        known = {name: each for name, each in figures.items() if name not in of_words}
        return known, f"rest on training or on other rows, or need words, and {TEXTS_GONE}"
    return figures, "rest on training or on other rows"


def _figures(label: str, run_id: str, recorded: Figures, again: Figures, why: str, rows: int) -> Iterator[AuditFinding]:
    wrong = sorted(name for name, figure in again.items() if not same(figure, recorded.get(name)))
    for name in wrong:
        said = format_figure(recorded[name]) if name in recorded else "nothing"
        detail = f"run {run_id}: recorded {said}, the rows give {format_figure(again[name])}"
        yield AuditFinding(label, f"figure {name}", "differs", detail)
    if again and not wrong:
        yield AuditFinding(
            label, "figures", "holds", f"{len(again)} of {len(recorded)} figures follow from {rows} rows"
        )
    if left := sorted(recorded.keys() - again.keys()):
        detail = f"{len(left)} of {len(recorded)} figures {why}: {', '.join(left)}"
        yield AuditFinding(label, "figures", "not recomputable", detail)


def format_figure(estimate: Estimate) -> str:
    """A figure with its interval and what it was measured on."""
    return f"{format_estimate(estimate, digits=4)} of n = {estimate.n}"
