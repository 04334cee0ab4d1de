"""Tamper with copies of a finished ladder, audit each, and tell what was noticed."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mlflow import MlflowClient

from benchmarks.tamper.ladder import FinishedLadder
from benchmarks.tamper.tampers import Tamper
from flows.attestation.keys import read_public_key
from flows.lineage.archive import Archive
from flows.lineage.audit import audit
from flows.lineage.finding import DOUBTS, AuditFinding
from flows.lineage.proof import prove
from flows.registry.database import prepare_database


class Notice(NamedTuple):
    """What audits said of one tamper.

    Attributes:
        quick: the first finding of an audit that reads no files; empty where there is none.
        deep: the same of one that reads them.
        witnessed: the same of one that also has the copies of a witness.
    """

    kind: str
    what: str
    quick: str
    deep: str
    witnessed: str

    def as_json(self) -> dict[str, Any]:
        """For the file of results."""
        return self._asdict()


def try_tamper(tamper: Tamper | None, home: Path) -> Notice:
    """Change a fresh copy of a ladder and audit it, by a key that the auditor has kept.

    Args:
        tamper: None changes nothing, so that nothing may be found.
        home: folder of the ladder.
    """
    with tempfile.TemporaryDirectory(prefix="tamper-") as folder:
        ladder = FinishedLadder(home, Path(folder))
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{ladder.storage / 'mlflow.db'}"
        prepare_database()  # which lets the copy name its own files
        if tamper is not None:
            tamper.change(ladder)
        archive, key = Archive(MlflowClient()), read_public_key(home / "storage" / "keys" / "pipeline.pub")
        quick = first_doubt(prove(archive, None, [key]))
        deep = quick or first_doubt(prove(archive, None, [key], deep=True))
        deep = deep or first_doubt(audit(archive, archive.everything().versions.values()))
        kept = str(ladder.witness) if ladder.witness.is_dir() else None
        witnessed = deep or first_doubt(prove(archive, None, [key], witness=kept))
    kind, what = ("", "nothing") if tamper is None else tamper[:2]
    return Notice(kind, what, quick, deep, witnessed)


def first_doubt(findings: Sequence[AuditFinding]) -> str:
    """The first finding that an audit fails by, in a line; empty where there is none."""
    for finding in findings:
        if finding.status in DOUBTS:
            return f"{finding.of}, {finding.what}: {finding.status}, {finding.detail.partition('; stated in')[0]}"
    return ""
