"""Whether the verdicts on a version follow from its figures and the thresholds of the time, and its tags from these."""

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

from mlflow.entities import Run
from pydantic import ValidationError

from flows.lineage.archive import Archive
from flows.lineage.champion import BesideChampion, beside_champion
from flows.lineage.evidence import Figures, Measurement, measurement, recorded_figures, shown_metrics
from flows.lineage.finding import AuditFinding
from flows.lineage.graph import Version
from flows.lineage.training_record import evidence_of
from flows.registry.keys import code_version
from flows.registry.names import (
    CODE_TAG,
    CONFIGURATION,
    FAILED,
    GATED,
    PASSED,
    STAGE_TAG,
    verdicts_record,
)
from flows.registry.references import DATA
from rlhf_core.gates.champion import IS_CHAMPION, NO_CHAMPION, OVER_CHAMPION, asked_of_champion
from rlhf_core.gates.gate import Gate, Verdict, blocked, judge

STAGE_OF = {"value": "policy"}
"""The stage that makes a model which is not called by it."""

EVALUATION = "evaluate"
"""What a run that only measures says that it is, in `STAGE_TAG`; those below it add the stage."""

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


def stage_of(version: Version) -> str:
    """The stage that made a version."""
    named = next(name for name in (*STAGE_OF, *GATED, "judge", "base") if version.name.endswith(f"-{name}"))
    return STAGE_OF.get(named, named)


class VerdictAudit:
    """Judges the versions of an archive again; a run is looked at once.

    Args:
        archive: registry and artifact store.
    """

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self._judged: dict[tuple[str, str], Judged | None] = {}
        self._data: set[str] = set()

    def findings(self, version: Version, trained: Measurement) -> Iterator[AuditFinding]:
        """What is found of the verdicts on a version, and of its tags, which are those of the last of them.

        Args:
            version: as its tags describe it.
            trained: its figures, as the run that made it measured them.
        """
        stage = stage_of(version)
        if stage not in GATED:
            return
        last = None
        for run in self.archive.judged(version, stage):
            yield from self._of_data(run)
            seen = (run.info.run_id, stage) in self._judged
            judged = self._judge(run, version, stage, trained)
            last = judged or last
            if judged is not None and not seen:
                yield from judged.findings
        if last is not None:
            yield from _tags(version, last)
        elif version.gates:
            yield AuditFinding(version.label, "gates", "missing", "no run keeps the verdicts that its tags tell")

    def _judge(self, run: Run, version: Version, stage: str, trained: Measurement) -> Judged | None:
        """What a run said of a stage; None where it was cut off before it said anything."""
        key = run.info.run_id, stage
        if key not in self._judged:
            self._judged[key] = self._judged_by(run, version, stage, trained)
        return self._judged[key]

    def _judged_by(self, run: Run, version: Version, stage: str, trained: Measurement) -> Judged | None:
        run_id = run.info.run_id
        verdicts = _recorded(self.archive, run_id, stage)
        thresholds = _thresholds(self.archive, run_id, stage)
        if verdicts is None and run.info.status != "FINISHED":
            return None
        if verdicts is None or thresholds is None:
            path = verdicts_record(stage) if verdicts is None else CONFIGURATION
            detail = f"{path} of run {run_id} is gone or unreadable"
            return Judged([], "", [AuditFinding(version.label, "verdicts", "missing", detail)])
        measured = self._evaluated(run, version, stage) or trained
        beside = beside_champion(self.archive, version.label, run_id, stage)
        findings = [] if measured is trained else measured.findings
        findings = [*findings, *beside.findings]
        figures = measured.figures | beside.estimates(asked_of_champion(thresholds.gates))
        absent = _absent(verdicts, beside)
        again = judge(thresholds.gates, figures, absent)
        findings += _verdicts(version.label, run, verdicts, again)
        findings += _unproved(version.label, run_id, again, {*measured.again, *beside.known}, absent)
        blocking = blocked(again, abstain_blocks=thresholds.abstain_blocks)
        return Judged(again, FAILED if blocking else PASSED, findings)

    def _evaluated(self, run: Run, version: Version, stage: str) -> Measurement | None:
        """The figures of a run that only measures; None of one that trains."""
        if run.data.tags.get(STAGE_TAG) != EVALUATION:
            return None
        for child in self.archive.children(run, f"{EVALUATION}-{stage}"):
            return measurement(self.archive, version.label, stage, child.info.run_id, evidence_of(child))
        return None

    def _of_data(self, run: Run) -> Iterator[AuditFinding]:
        """What a run said of its data, whose figures no rows but the snapshots give."""
        run_id = run.info.run_id
        if run_id in self._data:
            return
        self._data.add(run_id)
        of = f"climb {run_id[:12]}"
        documents = [recorded_figures(self.archive, run_id, path) or {} for path in LADDER_FIGURES]
        figures: Figures = {name: each for document in documents for name, each in document.items()}
        if figures:
            yield from shown_metrics(self.archive, of, run_id, figures)
        verdicts, thresholds = _recorded(self.archive, run_id, DATA), _thresholds(self.archive, run_id, DATA)
        if verdicts is None or thresholds is None:
            return
        again = judge(thresholds.gates, documents[0])
        yield from _verdicts(of, run, verdicts, again)
        if documents[0]:
            detail = f"{len(documents[0])} figures of run {run_id} rest on whole snapshots: {', '.join(documents[0])}"
            yield AuditFinding(of, "figures", "not recomputable", detail)


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


def _verdicts(of: str, run: Run, recorded: Sequence[Verdict], again: Sequence[Verdict]) -> Iterator[AuditFinding]:
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
    if left:
        names = ", ".join(f"{verdict.gate} ({verdict.metric})" for verdict in left)
        detail = f"{len(left)} verdicts of run {run_id} rest on figures that are only recorded: {names}"
        yield AuditFinding(label, "verdicts", "not recomputable", detail)
    if absent:
        detail = (
            f"{len(absent)} verdicts of run {run_id} rest on its word that {'; '.join(sorted(set(absent.values())))}"
        )
        yield AuditFinding(label, "verdicts", "not recomputable", detail)


def _tags(version: Version, last: Judged) -> Iterator[AuditFinding]:
    """The status of each gate, and of all of them, that the registry shows."""
    expected = {verdict.gate: verdict.status for verdict in last.verdicts} | (
        {"status": last.status} if last.status else {}
    )
    wrong = {name: status for name, status in expected.items() if version.gates.get(name) != status}
    for name, status in wrong.items():
        said = version.gates.get(name, "nothing")
        detail = f"the registry says {said}, its figures and thresholds give {status}"
        yield AuditFinding(version.label, f"gate {name}", "differs", detail)
    if expected and not wrong:
        yield AuditFinding(version.label, "gates", "holds", f"{len(expected)} tags are as the last run judged")
