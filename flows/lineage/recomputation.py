"""Figures, verdicts and tags of versions, computed again from what is kept of the runs that measured and judged."""

from collections.abc import Iterator

from mlflow.entities import Run

from flows.lineage.archive import Archive
from flows.lineage.evidence import Measurement, measurement
from flows.lineage.finding import AuditFinding
from flows.lineage.graph import Version
from flows.lineage.training_record import Training, evidence_of
from flows.lineage.verdicts import Judged, data_judged_again, judged_again, tags_again
from flows.registry.names import EVALUATION, GATED, MODELS, STAGE_TAG

STAGE_OF = {"value": "policy"}
"""The stage that makes a model which is not called by it."""


class Recomputation:
    """Computes again what is said of the versions of an archive; a run is looked at once, and reported once.

    Args:
        archive: registry and artifact store.
    """

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self._measured: dict[str, Measurement] = {}
        self._judged: dict[tuple[str, str], Judged | None] = {}
        self._data: set[str] = set()

    def findings(self, version: Version, training: Training) -> Iterator[AuditFinding]:
        """What comes of it for a version.

        Args:
            version: as its tags describe it.
            training: the run that made it; that of a value measured the policy.
        """
        stage = _stage_of(version)
        if stage == "base":
            return
        if version.name.endswith(f"-{stage}"):
            if version.evidence != training.evidence:
                detail = f"its tags name other rows than run {training.run_id}"
                yield AuditFinding(version.label, "evidence", "altered", detail)
            model_id = version.model_id
            yield from self._measure(version, stage, training.run_id, training.evidence, model_id).findings
        if stage in GATED:
            yield from self._verdicts(version, stage, training)

    def _verdicts(self, version: Version, stage: str, training: Training) -> Iterator[AuditFinding]:
        """The verdicts of every run that judged a version, and its tags, which are those of the last of them."""
        last = None
        for run in self.archive.judged(version, stage):
            run_id = run.info.run_id
            if run_id not in self._data:
                self._data.add(run_id)
                yield from data_judged_again(self.archive, run)
            if (run_id, stage) not in self._judged:
                measured = self._evaluated(run, version, stage)
                if measured is None:
                    measured = self._measure(version, stage, training.run_id, training.evidence)
                else:
                    yield from measured.findings
                judged = judged_again(self.archive, run, version, stage, measured)
                self._judged[run_id, stage] = judged
                yield from judged.findings if judged is not None else ()
            last = self._judged[run_id, stage] or last
        if last is not None:
            yield from tags_again(version, last)
        elif version.gates:
            yield AuditFinding(version.label, "gates", "missing", "no run keeps the verdicts that its tags tell")

    def _evaluated(self, run: Run, version: Version, stage: str) -> Measurement | None:
        """The figures of a run that only measures; None of one that trains."""
        if run.data.tags.get(STAGE_TAG) != EVALUATION:
            return None
        for child in self.archive.children(run, f"{EVALUATION}-{stage}"):
            return self._measure(version, stage, child.info.run_id, evidence_of(child))
        return None

    def _measure(
        self, version: Version, stage: str, run_id: str, digests: dict[str, str], model_id: str | None = None
    ) -> Measurement:
        if run_id not in self._measured:
            self._measured[run_id] = measurement(self.archive, version.label, stage, run_id, digests, model_id)
        return self._measured[run_id]


def _stage_of(version: Version) -> str:
    """The stage that made a version."""
    named = next(name for name in MODELS if version.name.endswith(f"-{name}"))
    return STAGE_OF.get(named, named)
