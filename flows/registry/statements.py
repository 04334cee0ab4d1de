"""Statements about what the registry holds: made, judged, moved and removed, each signed into the project's log."""

import functools
import json
import os
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from securesystemslib.signer import CryptoSigner

from flows.attestation.keys import PIPELINE_KEY, pipeline_key, pipeline_key_file
from flows.attestation.log import LogEntry, StatementLog
from flows.attestation.statement import FOLDER, MADE, PROVENANCE, REGISTRY, ROWS, TAGGED, Subject, digest_of
from flows.config.audit import AuditConfig, witness_at
from flows.config.errors import InputError
from flows.registry.client import Registry
from flows.registry.held import (
    CURVES,
    FILES,
    INPUTS,
    alias_address,
    held_model,
    held_run,
    held_version,
    kept_curves,
    kept_files,
    model_address,
    model_inputs,
    noted_end,
    plain,
    run_address,
    version_address,
)
from flows.registry.names import CODE_TAG, COMMIT_TAG, FLOW_RUN_TAG, HARDWARE_TAG, PACKAGES_TAG
from flows.registry.processes import process_tag, user_name
from flows.registry.references import DatasetRef, ModelRef
from flows.report import warn

WITNESS = "RLHF_WITNESS"
"""Environment variable: address of the witness, before what a configuration names."""

UNSIGNED = "statements are not signed (audit.sign is false): nothing that this makes or moves can be proved"


def state(
    registry: Registry,
    kind: str,
    subjects: Iterable[Subject],
    predicate: Mapping[str, Any],
    holds: Mapping[str, Any],
    *,
    beside: Sequence[CryptoSigner] = (),
) -> LogEntry:
    """Add a statement to the log of a registry's project.

    Args:
        registry: of the project.
        kind: predicate type.
        subjects: what it is about.
        predicate: what is true of them.
        holds: what the registry must hold from then on, by address; None where it must hold nothing.
        beside: who signs it besides the pipeline.
    """
    whole = {**predicate, REGISTRY: plain(holds), MADE: made_here()}
    return log_of(registry).append(kind, subjects, whole, beside=beside)


def log_of(registry: Registry) -> StatementLog:
    """The log of a registry's project, with its signer and witness; a key is made where there is none yet.

    Raises:
        InputError: if a key is named and cannot be read, or the witness of the environment can be none.
    """
    experiment = registry.client.get_experiment(registry.experiment_id)
    return _log(registry.storage, str(experiment.name), str(experiment.artifact_location), registry.audit)


@functools.lru_cache(maxsize=16)
def _log(storage: Path, project: str, artifacts: str, audit: AuditConfig) -> StatementLog:
    named = os.environ.get(WITNESS)
    witness = witness_at(named, WITNESS) if named else audit.witness
    if not audit.sign:
        warn(UNSIGNED)
        return StatementLog(storage, project, artifacts, witness=witness)
    path = pipeline_key_file(storage)
    try:
        drawn = not path.exists() and audit.key is None and not os.environ.get(PIPELINE_KEY)
        signer = pipeline_key(storage, audit.key)
    except PermissionError:
        raise InputError(
            f"{path}: another user's key, which you may not read: set RLHF_SIGNING_KEY to a key of yours that "
            "`rlhf keys trust` made known, or audit.key to one that all of you may read"
        ) from None
    if drawn:
        warn(f"statements are signed by a new key, {path}; keep {path.with_suffix('.pub')} where auditors find it")
    return StatementLog(storage, project, artifacts, signers=[signer], witness=witness)


def made_here() -> dict[str, Any]:
    """Who makes a statement, by what, and where."""
    return {
        "by": f"{user_name()}@{socket.gethostname()}",
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]]),
        "process": process_tag(),
    }


def holds_run(registry: Registry, run_id: str) -> dict[str, Any]:
    """A run as the registry holds it now, with the digests of its files; one that runs ends as its tag notes.

    Args:
        registry: where it is.
        run_id: of any experiment.
    """
    run = registry.client.get_run(run_id)
    facets = {
        **held_run(run),
        INPUTS: model_inputs(run),
        FILES: kept_files(run.info.artifact_uri),
        CURVES: kept_curves(registry.client, run),
    }
    return {run_address(run_id): facets | (noted_end(run) if run.info.status == "RUNNING" else {})}


def holds_versions(registry: Registry, refs: Iterable[ModelRef], *facets: str) -> dict[str, Any]:
    """Versions as the registry holds them now; only some facets of them, where these are named."""
    held = {}
    for ref in refs:
        whole = held_version(registry.client.get_model_version(ref.name, ref.version))
        held[version_address(ref.label)] = {name: whole[name] for name in facets or whole}
    return held


def holds_models(registry: Registry, refs: Iterable[ModelRef]) -> dict[str, Any]:
    """The logged models of versions as the registry holds them now."""
    return {model_address(ref.model_id): held_model(registry.client.get_logged_model(ref.model_id)) for ref in refs}


def holds_alias(refs: Iterable[ModelRef], alias: str) -> dict[str, Any]:
    """Versions that have an alias from now on."""
    return {alias_address(ref.name, alias): ref.label for ref in refs}


def version_subject(ref: ModelRef) -> Subject:
    """A version, by the digest of its files together."""
    return Subject(name=ref.label, digest={FOLDER: ref.digest}, uri=ref.uri)


def table_subject(ref: DatasetRef, use: str = "") -> Subject:
    """A snapshot, by what its rows say."""
    return Subject(name=use or ref.name, digest={ROWS: ref.digest}, uri=f"dataset:{ref.name}")


def file_subjects(files: Mapping[str, str], below: str) -> list[Subject]:
    """Files by their SHA-256, below a name."""
    return [Subject(name=f"{below}/{path}", digest={"sha256": digest}) for path, digest in files.items()]


def provenance(
    what: str,
    *,
    parameters: Mapping[str, Any],
    materials: Iterable[Subject],
    run: Run | None = None,
    code: str = "",
    estimates: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A predicate of SLSA provenance v1.

    Args:
        what: is made: `stage`, `data`, `climb`.
        parameters: what people chose.
        materials: what went in.
        run: in which it was made, if there was one.
        code: version of the code that made it.
        estimates: figures of it, by name.
    """
    tags = {} if run is None else run.data.tags
    commit = {"gitCommit": tags[COMMIT_TAG]} if COMMIT_TAG in tags else {}
    sources = Subject(name="code", digest={"rlhfSources": code.partition("+")[2] or "unknown", **commit})
    lock = Subject(name="installed packages", digest={"sha256": installed()})
    return {
        "buildDefinition": {
            "buildType": f"urn:rlhf-ladder:{what}:v1",
            "externalParameters": plain(parameters),
            "internalParameters": {
                "code": code,
                "packages": json.loads(tags.get(PACKAGES_TAG, "{}")),
                "hardware": plain(json.loads(tags.get(HARDWARE_TAG, "{}"))),
            },
            "resolvedDependencies": [each.as_json() for each in (*materials, sources, lock)],
        },
        "runDetails": {
            "builder": {"id": "urn:rlhf-ladder", "version": {"rlhf-ladder": version("rlhf-ladder")}},
            "metadata": {
                "invocationId": tags.get(FLOW_RUN_TAG) or ("" if run is None else run.info.run_id),
                **({} if run is None else {"startedOn": _time(run.info.start_time)}),
                "finishedOn": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        },
        "rlhf_estimates": plain(estimates or {}),
    }


def state_tags(registry: Registry, run_id: str) -> None:
    """State the tags of a run, of whichever experiment, that got more of them after it ended."""
    tags = held_run(registry.client.get_run(run_id))["tags"]
    subject = Subject(name=run_id, digest={"sha256": digest_of(tags)})
    state(registry, TAGGED, [subject], {"run": run_id}, {run_address(run_id): {"tags": tags}})


@functools.cache
def installed() -> str:
    """SHA-256 over names and versions of all packages of this environment, as a lock file has them."""
    read = [each.metadata for each in distributions()]  # once each, as every look parses the file anew
    return digest_of(sorted({f"{each['Name']}=={each['Version']}" for each in read}))


def conclude(
    registry: Registry, of: Registry, run_id: str, what: str, status: str, materials: Iterable[Subject] = ()
) -> None:
    """End a run that made no version, with a statement of it by the files that it keeps.

    The run says first how it will end: one that is killed in between is ended so by who tidies up.

    Args:
        registry: of the project, whose log it is.
        of: where the run is, which may be another experiment.
        run_id: the run.
        what: it made or measured.
        status: how it ends, FINISHED, FAILED or KILLED.
        materials: what went in.
    """
    of.note_end(run_id, status)
    run = of.client.get_run(run_id)
    held = holds_run(of, run_id)
    files = held[run_address(run_id)][FILES]
    predicate = provenance(
        what,
        parameters={"run": run_id, "tags": run.data.tags},
        materials=materials,
        run=run,
        code=run.data.tags.get(CODE_TAG, ""),
    )
    subjects = file_subjects(files, run_id) or [Subject(name=run_id, digest={"sha256": digest_of(plain(held))})]
    state(registry, PROVENANCE, subjects, predicate, held)
    of.end_as_noted(run)


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
