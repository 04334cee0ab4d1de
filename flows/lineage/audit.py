"""Audit of a version: every digest behind it, and every figure and verdict, recomputed from what is kept."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import ValidationError
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from flows.lineage.archive import Archive
from flows.lineage.finding import STYLES, AuditFinding, AuditStatus
from flows.lineage.graph import Graph, Version
from flows.lineage.recomputation import Recomputation
from flows.lineage.training_record import Training
from flows.registry.keys import IDENTITY, Identity, files_artifact, inputs_of
from flows.storage.digests import file_changes, file_digests, total_digest
from flows.storage.snapshots import SnapshotDamaged, verify


def audit(archive: Archive, versions: Iterable[Version]) -> list[AuditFinding]:
    """Recompute all digests behind some versions, their figures from the rows that are kept, and their verdicts.

    Args:
        archive: registry and artifact store, from which everything is fetched anew.
        versions: those whose whole ancestry is audited.

    Returns:
        A finding for each thing that was looked at, what went in before what came out.
    """
    graph = archive.ancestry(list(versions))
    findings: list[AuditFinding] = []
    audited: set[str] = set()
    recomputation = Recomputation(archive)
    for node in graph.order:
        version = graph.versions.get(node)
        if version is None:
            continue  # a snapshot, audited with who used it; or a version that is gone, found with whom it went into
        training = archive.training(version.run_id)
        findings.append(_files(archive, version))
        findings += _parents(graph, version)
        findings += (AuditFinding(version.label, "data", "withdrawn", said) for said in version.withdrawn.values())
        if training is None:
            findings.append(AuditFinding(version.label, "run", "missing", f"{version.run_id} is gone"))
            continue
        findings.append(_identity(archive, version))
        findings += _data(archive, version, training, audited)
        findings += recomputation.findings(version, training)
    return findings


def as_json(findings: Sequence[AuditFinding], keys: str) -> dict[str, Any]:
    """The same as `render`, for programs."""
    counts = {status: sum(finding.status == status for finding in findings) for status in STYLES}
    return {"keys": keys, "counts": counts, "findings": [finding._asdict() for finding in findings]}


def render(findings: Sequence[AuditFinding], keys: str) -> Group:
    """What was looked at and what came of it, with a sum at the end.

    Args:
        findings: by what they are of.
        keys: which keys were trusted, in words.
    """
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 2, 0, 0))
    for column in ("of", "what", "finding", "detail"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        style = STYLES[finding.status]
        table.add_row(finding.of, finding.what, f"[{style}]{finding.status}[/{style}]", escape(finding.detail))
    counts = {status: sum(finding.status == status for finding in findings) for status in STYLES}
    told = (f"{count} {status}" for status, count in counts.items() if count or status != "withdrawn")
    return Group(table, f"\ntrusted: {escape(keys)}", ", ".join(told))


def _files(archive: Archive, version: Version) -> AuditFinding:
    """The files of a version against its digest; if that differs, against the digests of each file."""
    if not archive.loads_its_files(version):
        return AuditFinding(
            version.label, "files", "altered", "MLflow loads it from another place than its model lies at"
        )
    with archive.files(version) as folder:
        digests = {} if folder is None else file_digests(folder)
    if not digests:
        return AuditFinding(version.label, "files", "missing", "none in the artifact store")
    if total_digest(digests) == version.digest:
        return AuditFinding(version.label, "files", "holds", f"{len(digests)} files, {version.digest[:12]}")
    registered = archive.document(version.run_id, files_artifact(version.name))
    if registered is None or total_digest(registered) != version.digest:
        return AuditFinding(
            version.label, "files", "altered", "which of them cannot be told: their list is gone or altered"
        )
    changes = file_changes(registered, digests)
    status: AuditStatus = "missing" if changes.missing and not changes.altered else "altered"
    return AuditFinding(version.label, "files", status, str(changes))


def _parents(graph: Graph, version: Version) -> Iterator[AuditFinding]:
    """Whether what went in, or made its data, is still there, with the files that it had then."""
    inputs = [(f"parent {role}", label, version.parent_digests.get(role)) for role, label in version.parents.items()]
    inputs += [(f"data {name}", label, version.origin_digests.get(name)) for name, label in version.origins.items()]
    for what, label, then in inputs:
        parent = graph.versions.get(label)
        if parent is None:
            yield AuditFinding(version.label, what, "missing", f"{label} is not in the registry")
        elif parent.digest != then:
            detail = f"{label} has the digest {parent.digest[:12]}, and had {str(then)[:12]}"
            yield AuditFinding(version.label, what, "altered", detail)
        else:
            yield AuditFinding(version.label, what, "holds", f"{label}, {parent.digest[:12]}")


def _identity(archive: Archive, version: Version) -> AuditFinding:
    """The key of the stage, from its configuration, code and seed and the digests that the version names."""
    document = archive.document(version.run_id, IDENTITY)
    if document is None:
        return AuditFinding(
            version.label, "key", "missing", f"{IDENTITY} of run {version.run_id} is gone or unreadable"
        )
    try:
        identity = Identity.model_validate(document)
    except ValidationError:
        return AuditFinding(version.label, "key", "altered", f"{IDENTITY} of run {version.run_id} is no identity")
    if identity.key != version.key:
        detail = f"configuration, seed, code and inputs give {identity.key[-40:][:12]}, not {version.key[-40:][:12]}"
        return AuditFinding(version.label, "key", "altered", detail)
    inputs = inputs_of(version.parent_digests, version.dataset_digests, version.sources)
    if identity.code != version.code or identity.inputs != inputs:
        return AuditFinding(
            version.label, "key", "altered", "the version's tags name other code or inputs than its key"
        )
    return AuditFinding(version.label, "key", "holds", f"configuration, seed, code and {len(identity.inputs)} inputs")


def _data(archive: Archive, version: Version, training: Training, audited: set[str]) -> Iterator[AuditFinding]:
    """Whether the run names the data that the version names, and their snapshots and reports are there."""
    for use, dataset in version.datasets.items():
        name, _, digest = dataset.partition(":")
        dataset_use = training.uses.get(use)
        if dataset_use is None or dataset_use.digest != digest:
            yield AuditFinding(version.label, f"data {use}", "altered", f"its run does not name {name} {digest[:12]}")
            continue
        if dataset_use.counts is None:
            yield AuditFinding(
                version.label, f"data {use}", "missing", f"report on {name}: counts.json is gone or unreadable"
            )
        elif dataset_use.counts.written != dataset_use.rows:
            detail = f"report on {name} counts {dataset_use.counts.written} rows, not {dataset_use.rows}"
            yield AuditFinding(version.label, f"data {use}", "altered", detail)
        else:
            yield AuditFinding(version.label, f"data {use}", "holds", f"{name}, {dataset_use.rows} rows")
        if digest not in audited:
            audited.add(digest)
            yield _snapshot(archive, training.project, name, digest, dataset_use.contract)


def _snapshot(archive: Archive, project: str, name: str, digest: str, contract: str) -> AuditFinding:
    of, what = f"{name} {digest[:12]}", "snapshot"
    kept = archive.snapshot(project, digest)
    if kept is None:
        return AuditFinding(of, what, "missing", "no run keeps it")
    with archive.file(kept.run_id, f"{digest}.parquet") as path:
        if path is None:
            return AuditFinding(of, what, "missing", f"{digest}.parquet is not with run {kept.run_id}")
        try:
            verify(path, digest, contract)
        except SnapshotDamaged:
            return AuditFinding(of, what, "altered", f"{digest}.parquet of run {kept.run_id} has other content")
    return AuditFinding(of, what, "holds", f"contract {contract}")
