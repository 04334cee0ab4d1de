"""Whether the verdicts on a version follow from its figures and the thresholds of the time, and its tags from these."""

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

from mlflow.entities import Run
from pydantic import ValidationError

from flows.lineage.archive import Archive
from flows.lineage.champion import BesideChampion, beside_champion
from flows.lineage.evidence import Figures, Measurement, recorded_figures
from flows.lineage.finding import AuditFinding
from flows.lineage.graph import Version
from flows.lineage.shown import shown_metrics
from flows.registry.keys import code_version
from flows.registry.names import CODE_TAG, CONFIGURATION, FAILED, PASSED, verdicts_record
from flows.registry.references import DATA
from rlhf_core.gates.champion import IS_CHAMPION, NO_CHAMPION, OVER_CHAMPION, asked_of_champion
from rlhf_core.gates.gate import Gate, Verdict, blocked, judge

LADDER_FIGURES = ("data/estimates.json", "gold.json", "outside_measures.json")
"""Files of a ladder's run with figures of its own."""


class Thresholds(NamedTuple):
    """What a run held figures against."""

    gates: list[Gate]
    abstain_blocks: bool


class Judged(NamedTuple):
    """What figures and thresholds say of a version.

    Attributes:
        verdicts: by them.
        status: of the version, by these; empty where nothing can be said.
        findings: on what the run recorded, and on what it rests on.
    """

    verdicts: list[Verdict]
    status: str
    findings: list[AuditFinding]


def judged_again(archive: Archive, run: Run, version: Version, stage: str, measured: Measurement) -> Judged | None:
    """Judge a version again by what is kept of a run that judged it.

    Args:
        archive: where the run is.
        run: of the pipeline.
        version: that it stood on.
        stage: of the version.
        measured: the figures that it judged.

    Returns:
        None where the run was cut off before it said anything.
    """
    run_id = run.info.run_id
    verdicts, thresholds = _recorded(archive, run_id, stage), _thresholds(archive, run_id, stage)
    if verdicts is None and run.info.status != "FINISHED":
        return None
    if verdicts is None or thresholds is None:
        path = verdicts_record(stage) if verdicts is None else CONFIGURATION
        detail = f"{path} of run {run_id} is gone or unreadable"
        return Judged([], "", [AuditFinding(version.label, "verdicts", "missing", detail)])
    beside = beside_champion(archive, version.label, run_id, stage)
    figures = measured.figures | beside.estimates(asked_of_champion(thresholds.gates))
    absent = _absent(verdicts, beside)
    again = judge(thresholds.gates, figures, absent)
    known = {*measured.again, *beside.known}
    findings = [
        *beside.findings,
        *_compared(version.label, run, verdicts, again),
        *_unproved(version.label, run_id, again, known, absent),
    ]
    blocking = blocked(again, abstain_blocks=thresholds.abstain_blocks)
    return Judged(again, FAILED if blocking else PASSED, findings)


def data_judged_again(archive: Archive, run: Run) -> Iterator[AuditFinding]:
    """What a run of the pipeline said of its data, and showed of figures of its own; only whole snapshots give them."""
    run_id = run.info.run_id
    of = f"climb {run_id[:12]}"
    documents = [recorded_figures(archive, run_id, path) or {} for path in LADDER_FIGURES]
    figures: Figures = {name: each for document in documents for name, each in document.items()}
    if figures:
        yield from shown_metrics(archive, of, run_id, figures)
    verdicts, thresholds = _recorded(archive, run_id, DATA), _thresholds(archive, run_id, DATA)
    if verdicts is None or thresholds is None:
        return
    yield from _compared(of, run, verdicts, judge(thresholds.gates, documents[0]))
    if documents[0]:
        detail = f"{len(documents[0])} figures of run {run_id} rest on whole snapshots: {', '.join(documents[0])}"
        yield AuditFinding(of, "figures", "not recomputable", detail)


def tags_again(version: Version, last: Judged) -> Iterator[AuditFinding]:
    """The status of each gate, and of all of them, that the registry shows, by what the last run should have said."""
    expected: dict[str, str] = {verdict.gate: verdict.status for verdict in last.verdicts}
    expected |= {"status": last.status} if last.status else {}
    wrong = {name: status for name, status in expected.items() if version.gates.get(name) != status}
    for name, status in wrong.items():
        said = version.gates.get(name, "nothing")
        detail = f"the registry says {said}, its figures and thresholds give {status}"
        yield AuditFinding(version.label, f"gate {name}", "differs", detail)
    if expected and not wrong:
        yield AuditFinding(version.label, "gates", "holds", f"{len(expected)} tags are as the last run judged")


def _recorded(archive: Archive, run_id: str, judged: str) -> list[Verdict] | None:
    document = archive.document(run_id, verdicts_record(judged))
    try:
        return [Verdict.model_validate(verdict) for verdict in document["verdicts"]]
    except (KeyError, TypeError, ValidationError):
        return None


def _thresholds(archive: Archive, run_id: str, judged: str) -> Thresholds | None:
    """Gates of a run as its configuration has them; None where it is gone or unreadable."""
    document = archive.document(run_id, CONFIGURATION)
    try:
        gates = document["gates"]
        listed = [Gate.model_validate(gate) for gate in gates[judged.replace("-", "_")]]
        return Thresholds(listed, bool(gates["abstain_blocks"]))
    except (KeyError, TypeError, ValidationError):
        return None


def _absent(verdicts: Sequence[Verdict], beside: BesideChampion) -> dict[str, str]:
    """Why figures beside a champion are not there, as verdicts give it: nothing but the run itself knows that."""
    if beside.recorded is not None:
        return {}
    asked = [verdict for verdict in verdicts if verdict.metric.endswith(OVER_CHAMPION)]
    return {
        verdict.metric: reason
        for verdict in asked
        for reason in (NO_CHAMPION, IS_CHAMPION)
        if reason in verdict.explanation
    }


def _compared(of: str, run: Run, recorded: Sequence[Verdict], again: Sequence[Verdict]) -> Iterator[AuditFinding]:
    """Recorded verdicts against those that the figures give."""
    run_id, own = run.info.run_id, {verdict.gate: verdict for verdict in recorded}
    reworded = run.data.tags.get(CODE_TAG) != code_version()
    right = 0
    for verdict in again:
        said = own.pop(verdict.gate, None)
        changes = ["it is not among those recorded"] if said is None else _changes(said, verdict, reworded=reworded)
        if changes:
            yield AuditFinding(of, f"verdict {verdict.gate}", "differs", f"run {run_id}: {'; '.join(changes)}")
        right += not changes
    for gate in own:
        yield AuditFinding(of, f"verdict {gate}", "differs", f"run {run_id}: its configuration has no such gate")
    if right == len(recorded):
        yield AuditFinding(of, "verdicts", "holds", f"{right} verdicts of run {run_id} follow from their figures")


def _changes(said: Verdict, again: Verdict, *, reworded: bool) -> list[str]:
    """What a recorded verdict says otherwise; words, which releases choose, count only where the code is the same."""
    fields: dict[str, Any] = said.model_dump(exclude_unset=True, exclude={"explanation"} if reworded else None)
    ours = again.model_dump()
    return [
        f"{name}: recorded {fields[name]}, recomputed {ours[name]}" for name in fields if fields[name] != ours[name]
    ]


def _unproved(
    label: str, run_id: str, verdicts: Sequence[Verdict], known: Set[str], absent: Mapping[str, str]
) -> Iterator[AuditFinding]:
    """Verdicts on figures that no kept rows give."""
    left = [verdict for verdict in verdicts if verdict.metric not in known and verdict.metric not in absent]
    reasons = {
        "on figures that are only recorded": [verdict for verdict in left if verdict.n],
        "on nothing, as their figures were not measured": [verdict for verdict in left if not verdict.n],
        f"on its word that {' or '.join(sorted({*absent.values()}))}": [
            verdict for verdict in verdicts if verdict.metric in absent
        ],
    }
    for why, resting in reasons.items():
        if resting:
            names = ", ".join(f"{verdict.gate} ({verdict.metric})" for verdict in resting)
            detail = f"{len(resting)} verdicts of run {run_id} rest {why}: {names}"
            yield AuditFinding(label, "verdicts", "not recomputable", detail)
