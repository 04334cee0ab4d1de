"""Proof of what the registry says: the log of statements, the state of MLflow against it, and verdicts from figures."""

import tempfile
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path

from securesystemslib.signer import SSlibKey

from flows.attestation.statement import FOLDER, ROWS, Subject
from flows.attestation.verification import VerifiedLog
from flows.attestation.witness import Witness
from flows.lineage.archive import Archive
from flows.lineage.finding import AuditFinding
from flows.lineage.graph import Graph, Version
from flows.lineage.holdings import Holdings
from flows.lineage.standing import standing_findings
from flows.lineage.stated import Stated, log_findings, logged_projects, open_log, stated, verdict_findings
from flows.registry.approvals import WANTED, signatories
from flows.registry.held import alias_address, model_address, run_address, version_address
from flows.registry.names import CHALLENGER, CHAMPION, DIGEST_TAG, SNAPSHOT_TAG, project_of_model


def prove(
    archive: Archive,
    versions: Sequence[Version] | None,
    keys: Sequence[SSlibKey],
    *,
    witness: str | None = None,
    deep: bool = False,
    two_people: bool = False,
) -> list[AuditFinding]:
    """Hold the registry against the statements of its projects.

    Args:
        archive: the registry.
        versions: those whose ancestry is looked at; None for all that there is.
        keys: that the auditor trusts.
        witness: address of a witness, None where there is none.
        deep: whether the files of runs are read, too.
        two_people: whether two people must have signed for every champion.
    """
    with tempfile.TemporaryDirectory() as scratch:
        kept = None if witness is None else Witness(witness, Path(scratch))
        return list(_proved(archive, versions, keys, kept, deep=deep, two_people=two_people))


def _proved(
    archive: Archive,
    versions: Sequence[Version] | None,
    keys: Sequence[SSlibKey],
    witness: Witness | None,
    *,
    deep: bool,
    two_people: bool,
) -> Iterator[AuditFinding]:
    graph = None if versions is None else archive.ancestry(list(versions))
    names = archive.names() if graph is None else {version.name for version in graph.versions.values()}
    projects = set(filter(None, map(project_of_model, names)))
    projects |= logged_projects(archive.client, witness) if graph is None else set()
    for project in sorted(projects):
        log = open_log(archive.client, project, keys, witness)
        said = stated(log)
        yield from log_findings(project, log)
        yield from verdict_findings(project, said)
        within = None if graph is None else set(_addresses(graph, said))
        holdings = Holdings(archive.client, project, within)
        yield from standing_findings(holdings, said, deep=deep, within=within)
        if two_people:
            yield from people_findings(holdings, log, within)


def people_findings(holdings: Holdings, log: VerifiedLog, within: Container[str] | None) -> Iterator[AuditFinding]:
    """Whether two people signed for each champion, by its name and the digest of its files."""
    for address, label in holdings.of_kind("alias"):
        if not address.endswith(f"@{CHAMPION}") or (within is not None and address not in within):
            continue
        tags = holdings.facets.get(version_address(label), {}).get("tags", {})
        version = Subject(name=label, digest={FOLDER: tags.get(DIGEST_TAG, "")})
        people = signatories(log, version)
        told = f"{label}: {', '.join(people) or 'nobody'} signed for it by a key of their own"
        yield AuditFinding(address, "two people", "holds" if len(people) >= WANTED else "unsigned", told)


def _addresses(graph: Graph, said: Stated) -> Iterator[str]:
    """All that the story of some versions rests on: themselves, their runs, data, judgements, promotions, aliases."""
    for label, version in graph.versions.items():
        yield version_address(label)
        yield model_address(version.model_id)
        yield run_address(version.run_id)
        yield from (alias_address(version.name, alias) for alias in (CHAMPION, CHALLENGER))
    digests = {digest for version in graph.versions.values() for digest in version.dataset_digests.values()}
    yield from _runs_about({*graph.versions}, digests, said)


def _runs_about(labels: set[str], digests: Iterable[str], said: Stated) -> Iterator[str]:
    """Runs that judged, moved or made some versions, and those that keep their data."""
    wanted = set(digests)
    for entry in said.entries:
        assert entry.statement is not None
        subjects = entry.statement.subjects
        about = labels & {subject.name for subject in subjects} or any(
            subject.digest.get(ROWS) in wanted for subject in subjects
        )
        if about and "run" in entry.statement.predicate:
            yield run_address(str(entry.statement.predicate["run"]))
    for address, facets in said.holds.items():
        if address.startswith("run ") and facets and facets.get("tags", {}).get(SNAPSHOT_TAG) in wanted:
            yield address
