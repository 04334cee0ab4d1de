"""The log of a project as an audit reads it: what is wrong with it, and what it says that the registry must hold."""

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from securesystemslib.signer import SSlibKey

from flows.attestation.log import LogEntry, read_log
from flows.attestation.order import set_back
from flows.attestation.statement import JUDGEMENT, PROVENANCE
from flows.attestation.store import LogStore, log_address
from flows.attestation.verification import VerifiedLog, verify_log
from flows.attestation.witness import KeptLog, Witness
from flows.config.errors import InputError
from flows.lineage.finding import AuditFinding
from rlhf_core.gates.gate import Gate, Verdict, judge
from rlhf_core.metrics.estimates import Estimate


@dataclass(frozen=True)
class Stated:
    """What the statements of a log say that count.

    Attributes:
        holds: what the registry must hold, by address; None where it must hold nothing.
        since: the file of the last statement about an address.
        entries: whose statements count, the oldest first.
    """

    holds: dict[str, Any]
    since: dict[str, str]
    entries: list[LogEntry]

    @functools.cached_property
    def digests(self) -> set[str]:
        """SHA-256 of the files of these statements."""
        return {hashlib.sha256(entry.content).hexdigest() for entry in self.entries}

    @functools.cached_property
    def named(self) -> set[str]:
        """Runs that statements are by, besides those of which they are."""
        return {str(entry.statement.predicate.get("run", "")) for entry in self.entries if entry.statement is not None}


def open_log(client: MlflowClient, project: str, keys: Sequence[SSlibKey], witness: Witness | None) -> VerifiedLog:
    """Read and verify the log of a project; one that never was is empty.

    Args:
        client: of the registry.
        project: whose log it is.
        keys: that the auditor trusts.
        witness: None where nobody kept a copy.

    Raises:
        InputError: if the witness cannot be read, or has nothing of this project.
    """
    experiment = client.get_experiment_by_name(project)
    if experiment is None:
        return verify_log([], keys)
    kept = None
    if witness is not None:
        kept = _kept(witness.log(project), project)
    with LogStore(log_address(str(experiment.artifact_location), project)).copied() as folder:
        return verify_log(read_log(folder), keys, kept)


def _kept(log: KeptLog, project: str) -> list[LogEntry]:
    try:
        with log.copied() as folder:
            kept = read_log(folder)
    except (MlflowException, OSError) as error:
        raise InputError(f"the witness {log.address} cannot be read ({error})") from None
    if not kept:
        raise InputError(f"{log.address}: a witness has no statement of {project} there; name the address of one")
    return kept


def logged_projects(client: MlflowClient, witness: Witness | None) -> set[str]:
    """Projects that have a log, or of which the witness kept one, whether or not the registry has a version of them."""
    experiments = {str(each.name): str(each.artifact_location) for each in client.search_experiments()}
    written = {name for name, place in experiments.items() if LogStore(log_address(place, name)).names()}
    return written | (set() if witness is None else witness.projects())


def stated(log: VerifiedLog) -> Stated:
    """What the believed statements of a log say; of two on the same facet the later counts."""
    holds: dict[str, Any] = {}
    since: dict[str, str] = {}
    entries = list(log.believed)
    for entry in entries:
        assert entry.statement is not None
        for address, facets in entry.statement.registry.items():
            known = holds.get(address)
            if isinstance(facets, dict) and isinstance(known, dict):
                holds[address] = known | facets
            else:
                holds[address] = facets
            since[address] = entry.name
    return Stated(holds, since, entries)


def log_findings(project: str, log: VerifiedLog) -> Iterator[AuditFinding]:
    """What is wrong with a log, and how much of it is right."""
    of = f"log of {project}"
    for checked in log.entries:
        for kind, detail in checked.problems:
            yield AuditFinding(of, checked.entry.name, kind, detail)
    for detail in log.gone:
        name, _, why = detail.partition(": ")
        yield AuditFinding(of, name, "missing", why)
    sound = [checked for checked in log.entries if not checked.problems]
    if sound:
        signers = sorted({keyid for checked in sound for keyid in checked.signers})
        names = ", ".join(keyid[:12] for keyid in signers)
        back = set_back(checked.entry for checked in log.entries)
        clock = f"; a clock was set back {back} times, the order is that of the chain" if back else ""
        told = f"{len(sound)} of {len(log.entries)}, signed by key {names}{clock}"
        yield AuditFinding(of, "statements", "holds", told)
    elif not log.entries:
        yield AuditFinding(of, "statements", "missing", "there are none")


def verdict_findings(project: str, said: Stated) -> Iterator[AuditFinding]:
    """Whether the verdicts that are stated follow from the stated figures, and these are those of the stage."""
    measured = dict(_measured(said.entries))
    right = 0
    for entry in said.entries:
        if entry.statement is None or entry.statement.kind != JUDGEMENT or "verdicts" not in entry.statement.predicate:
            continue
        of = ", ".join(subject.name for subject in entry.statement.subjects)
        wrong = [*_judged_again(entry.statement.predicate), *_others(entry.statement.predicate, measured)]
        for detail in wrong:
            yield AuditFinding(of, "stated verdicts", "differs", f"{entry.name}: {detail}")
        right += not wrong
    if right:
        yield AuditFinding(
            f"log of {project}", "stated verdicts", "holds", f"{right} judgements follow from figures and thresholds"
        )


def _measured(entries: Sequence[LogEntry]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Figures that stages stated, by the run that measured them."""
    for entry in entries:
        if entry.statement is not None and entry.statement.kind == PROVENANCE:
            figures = entry.statement.predicate.get("rlhf_estimates") or {}
            for address in entry.statement.registry if figures else ():
                if address.startswith("run "):
                    yield address.removeprefix("run "), figures


def _judged_again(predicate: Mapping[str, Any]) -> Iterator[str]:
    gates = [Gate.model_validate(gate) for gate in predicate["gates"]]
    figures = {name: Estimate.from_json(figure) for name, figure in predicate["estimates"].items()}
    said = {verdict["gate"]: Verdict.model_validate(verdict) for verdict in predicate["verdicts"]}
    for verdict in judge(gates, figures, predicate.get("absent", {})):
        other = said.pop(verdict.gate, None)
        if other is None or (other.status, other.value) != (verdict.status, verdict.value):
            yield f"gate {verdict.gate}: {other.status if other else 'nothing'}, its figures give {verdict.status}"
    for gate in said:
        yield f"gate {gate}: it has no threshold"


def _others(predicate: Mapping[str, Any], measured: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    figures = measured.get(predicate["measuredBy"], {})
    for name, figure in figures.items():
        if predicate["estimates"].get(name) != figure:
            yield f"figure {name} is not the one that its stage stated"
