"""Verification of a bundle by someone who has it, a public key and nothing else: what holds, and what does not."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from securesystemslib.signer import SSlibKey

from flows.attestation.log import LogEntry
from flows.attestation.statement import FOLDER, NoStatement, signatures, signed_by, unseal
from flows.attestation.verification import verify_log
from flows.lineage.finding import AuditFinding
from flows.lineage.graph import Version
from flows.lineage.recomputation import Recomputation
from flows.lineage.standing import run_must_be_stated
from flows.lineage.stated import Stated, log_findings, stated, verdict_findings
from flows.papers.bundle import CONTENTS, LEFT_OUT, MANIFEST, RUN, RUNS
from flows.papers.bundle_archive import BundleArchive
from flows.registry.held import FILES, alias_address, held_run, held_version, run_address, version_address
from flows.registry.names import EVIDENCE


def verify_bundle(files: Mapping[str, bytes], keys: Sequence[SSlibKey]) -> list[AuditFinding]:
    """Check a bundle against keys, and all of it against itself.

    Args:
        files: of the bundle, by name.
        keys: that the reader trusts; the one in the bundle proves nothing.

    Returns:
        A finding for each thing that was looked at.

    Raises:
        InputError: if what it says of runs and versions cannot be read at all.
    """
    archive = BundleArchive(files)
    findings = list(_manifest(files, keys))
    said: dict[str, Any] = {}
    entries: list[LogEntry] = []
    for project in archive.projects:
        log = verify_log(archive.log(project), keys)
        believed = stated(log)
        findings += log_findings(project, log)
        findings += verdict_findings(project, believed)
        said |= believed.holds
        entries += believed.entries
    if not archive.projects:
        findings.append(AuditFinding("bundle", "statements", "missing", "it has none"))
    whole = Stated(said, {}, entries)
    findings += _versions(archive, whole)
    findings += _runs(archive, whole)
    findings += (_left_out(finding) if _without_rows(files) else finding for finding in _recomputed(archive))
    return findings


def _manifest(files: Mapping[str, bytes], keys: Sequence[SSlibKey]) -> Iterator[AuditFinding]:
    """Whether a trusted key signed the list of the files, and these are what it says."""
    of, sealed = "bundle", files.get(MANIFEST)
    if sealed is None:
        yield AuditFinding(of, MANIFEST, "missing", "nobody says what must be in it")
        return
    try:
        statement, _ = unseal(sealed)
    except NoStatement as error:
        yield AuditFinding(of, MANIFEST, "altered", str(error))
        return
    if statement.kind != CONTENTS:
        yield AuditFinding(of, MANIFEST, "altered", "is a statement of something else")
        return
    signers = signed_by(sealed, keys)
    if not signers:
        named = ", ".join(keyid[:12] for keyid in signatures(sealed))
        detail = f"no trusted key signed it, but {named}" if named else "nobody signed it"
        yield AuditFinding(of, MANIFEST, "unsigned", detail)
    listed = {subject.name: subject.digest.get("sha256") for subject in statement.subjects}
    wrong = 0
    for name in sorted({*listed, *files} - {MANIFEST}):
        if name not in files or name not in listed:
            wrong += 1
            detail = "is not in the bundle" if name not in files else "is not among what was signed"
            yield AuditFinding(of, name, "missing" if name not in files else "altered", detail)
        elif hashlib.sha256(files[name]).hexdigest() != listed[name]:
            wrong += 1
            yield AuditFinding(of, name, "altered", "has other content than was signed")
    if signers and not wrong:
        version = statement.predicate.get("version")
        yield AuditFinding(of, "files", "holds", f"{len(listed)} files of {version}, signed by key {signers[0][:12]}")


def _without_rows(files: Mapping[str, bytes]) -> bool:
    """Whether the list of files says that held-out rows were left out; an unsigned list fails the whole anyway."""
    try:
        return unseal(files.get(MANIFEST, b""))[0].predicate.get("rows") == LEFT_OUT
    except NoStatement:
        return False


def _left_out(finding: AuditFinding) -> AuditFinding:
    """What is said of rows that lack because they were left out."""
    if finding.status == "missing" and finding.detail.startswith(f"{EVIDENCE}/"):
        return finding._replace(
            status="not recomputable", detail="its rows were left out; statements have their digests"
        )
    return finding


def _versions(archive: BundleArchive, stated_: Stated) -> Iterator[AuditFinding]:
    """Versions and their aliases as statements have them, the files of each by its digest."""
    for registered in archive.registered:
        label = f"{registered.name}/{registered.version}"
        yield _against(label, "version", held_version(registered), stated_.holds.get(version_address(label)))
        for alias in registered.aliases or ():
            now = stated_.holds.get(alias_address(registered.name, alias))
            if now == label:
                yield AuditFinding(label, "alias", "holds", f"@{alias}")
            else:
                yield AuditFinding(label, "alias", "altered", f"@{alias}: statements say {now or 'nobody'} has it")


def _runs(archive: BundleArchive, stated_: Stated) -> Iterator[AuditFinding]:
    """Runs and their files as statements have them; one that was killed has none, which `rlhf audit` lets pass, too."""
    for run_id, run in archive.recorded.items():
        of, said, held = f"run {run_id[:12]}", stated_.holds.get(run_address(run_id)), held_run(run)
        if said is None and not run_must_be_stated(run_id, held, stated_):
            yield AuditFinding(of, "record", "not recomputable", "it was cut off, so nobody stated how it ended")
            continue
        yield _against(of, "record", held, said)
        if isinstance(said, Mapping):
            yield _files(archive, run_id, said.get(FILES, {}))


def _files(archive: BundleArchive, run_id: str, said: Mapping[str, str]) -> AuditFinding:
    start = f"{RUNS}/{run_id}/"
    own = {name.removeprefix(start): content for name, content in archive.contents.items() if name.startswith(start)}
    own.pop(RUN, None)
    wrong = [path for path, content in own.items() if said.get(path) != hashlib.sha256(content).hexdigest()]
    if wrong:
        return AuditFinding(f"run {run_id[:12]}", "files", "altered", f"not as stated: {', '.join(sorted(wrong))}")
    return AuditFinding(f"run {run_id[:12]}", "files", "holds", f"{len(own)} files are as stated")


def _against(of: str, what: str, held: Mapping[str, Any], said: Any) -> AuditFinding:
    """One thing as it was held when the bundle was made, against what is stated of it."""
    if not isinstance(said, Mapping):
        return AuditFinding(of, what, "unsigned", "no statement that counts tells of it")
    names = sorted(held.keys() & said.keys())
    if wrong := [name for name in names if held[name] != said[name]]:
        return AuditFinding(of, what, "altered", f"not as stated: {', '.join(wrong)}")
    return AuditFinding(of, what, "holds", f"{', '.join(names)} as stated")


def _recomputed(archive: BundleArchive) -> Iterator[AuditFinding]:
    """Figures from the rows that are here, verdicts from figures and thresholds, and parents by their digests."""
    graph, recomputation = archive.graph, Recomputation(archive)
    for node in graph.order:
        version = graph.versions.get(node)
        if version is None:
            continue
        yield from _parents(version, graph.versions)
        training = archive.training(version.run_id)
        if training is None:
            yield AuditFinding(version.label, "run", "missing", f"{version.run_id} is not in the bundle")
        else:
            yield from recomputation.findings(version, training)


def _parents(version: Version, versions: Mapping[str, Version]) -> Iterator[AuditFinding]:
    for role, label in version.parents.items():
        parent, then = versions.get(label), version.parent_digests.get(role)
        if parent is None:
            yield AuditFinding(version.label, f"parent {role}", "missing", f"{label} is not in the bundle")
        elif parent.digest != then:
            yield AuditFinding(version.label, f"parent {role}", "altered", f"{label} has another {FOLDER} than it had")
