"""Retention: removes old versions and files from which nothing that stays was made."""

import json
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from mlflow import MlflowClient
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from flows.attestation.statement import REMOVAL, Subject, digest_of
from flows.config.audit import AuditConfig
from flows.lineage.archive import Archive
from flows.lineage.evidence_retention import EvidenceRun, evidence_runs
from flows.lineage.graph import Graph, Version
from flows.lineage.story import when
from flows.lineage.training_record import datasets_of
from flows.outages import unless_away
from flows.registry.artifacts import delete_files, delete_model, location_of, stored_size
from flows.registry.client import open_registry
from flows.registry.dataset_uploads import DIGEST_FILE
from flows.registry.held import FILES, model_address, run_address, version_address
from flows.registry.lookup import DATASET
from flows.registry.names import (
    EVIDENCE,
    EVIDENCE_PRUNED_TAG,
    MODELS,
    SNAPSHOT_TAG,
    STAGE_PREFIX,
    data_experiment,
    registered_name,
)
from flows.registry.statements import holds_run, state
from flows.storage.locks import is_held

DAY = 86_400.0

RUNS = 50_000  # the most that one search gives


Local = Literal["local snapshot", "local copy", "ingestion report", "work", "cache"]
"""What lies in the storage folder alone."""


class Waste(NamedTuple):
    """Something that may go.

    Attributes:
        kind: a version with its files, rows of evidence that a run keeps, a snapshot in the artifact store, or what
            lies in the storage folder.
        name: label of the version, what the rows are of, digest of the snapshot, or path.
        holder: id of the logged model or the run that has it in MLflow.
        size: bytes.
        made: seconds since the epoch.
        of: versions that need it, which must be gone before it goes.
    """

    kind: Literal["version", "evidence", "snapshot"] | Local
    name: str
    size: int
    made: float
    holder: str = ""
    of: tuple[str, ...] = ()


def superseded(graph: Graph, project: str, *, before: float, in_use: Iterable[str] = ()) -> list[Version]:
    """Versions of a project that may go: old, without an alias, and nothing that stays was made from them.

    Args:
        graph: all versions of the registry, those of other projects too.
        project: whose versions may go.
        before: seconds since the epoch; what was made later stays.
        in_use: versions that a running climb stands on.

    Returns:
        In an order in which none goes before what was made from it.
    """
    names, in_use = {registered_name(project, model) for model in MODELS}, set(in_use)
    may_go = {
        label
        for label, version in graph.versions.items()
        if version.name in names and not version.aliases and version.created < before and label not in in_use
    }
    needed = graph.before(label for label in graph.versions if label not in may_go)
    return [graph.versions[node] for node in reversed(graph.order) if node in may_go - needed]


def needed_digests(graph: Graph, gone: Iterable[Version]) -> set[str]:
    """Digests of the datasets that went into what stays."""
    left = set(graph.versions) - {version.label for version in gone}
    return {node.removeprefix(DATASET) for node in graph.before(left) if node.startswith(DATASET)}


class Retention:
    """What there is of a project in registry, artifact store and storage folder."""

    def __init__(self, client: MlflowClient, project: str, storage: Path, audit: AuditConfig | None = None) -> None:
        self.client = client
        self.project = project
        self.storage = storage
        self.audit = audit

    def find(self, *, keep_days: float) -> list[Waste]:
        """Everything that may go: versions first, what came out of others before them."""
        before = time.time() - keep_days * DAY
        graph, in_use, read = self._found()
        gone = superseded(graph, self.project, before=before, in_use=in_use)
        left = {version.digest for version in graph.versions.values()} - {version.digest for version in gone}
        needed = needed_digests(graph, gone) | read
        wastes = [
            *(self._version(version) for version in gone),
            *(_rows(each) for each in self._evidence(graph) if not {*each.of} - {version.label for version in gone}),
            *self._kept_snapshots(needed),
            *self._stored("local snapshot", "snapshots/*/*.parquet", needed),
            *self._stored("local copy", "copies/*", left),
            *self._reports(needed),
            *self._unused("work", "work/*/"),
            *self._unused("cache", "cache/*/*"),
        ]
        return [waste for waste in wastes if waste.made < before]

    def kept_evidence(self, wastes: Sequence[Waste]) -> list[Waste]:
        """Evidence that stays beside what was found: versions that stay were measured by it, or it is young."""
        going = {waste.holder for waste in wastes if waste.kind == "evidence"}
        graph, _, _ = self._found()
        return [_rows(each) for each in self._evidence(graph) if each.run_id not in going]

    def remove(self, waste: Waste) -> None:
        """Remove one thing, unless somebody took it up since it was found; what is no more in MLflow is stated so."""
        match waste.kind:
            case "version":
                name, version = waste.name.rsplit("/", 1)
                if not self.client.get_model_version(name, version).aliases:
                    self._state(waste, [version_address(waste.name), model_address(waste.holder)])
                    self.client.delete_model_version(name, version)
                    delete_model(self.client, waste.holder)
            case "evidence":
                if not any(map(self._is_registered, waste.of)):
                    self._state(waste, [], rows_of=waste.holder)
                    delete_files(f"{self.client.get_run(waste.holder).info.artifact_uri}/{EVIDENCE}")
                    self.client.set_tag(
                        waste.holder, EVIDENCE_PRUNED_TAG, datetime.now(UTC).isoformat(timespec="seconds")
                    )
            case "snapshot":
                self._state(waste, [run_address(waste.holder)])
                delete_files(self.client.get_run(waste.holder).info.artifact_uri)
                self.client.delete_run(waste.holder)
            case "work" | "cache":
                if not self._working():
                    _delete(Path(waste.name))
            case _:
                for path in _beside(Path(waste.name)):
                    _delete(path)

    def _state(self, waste: Waste, gone: Sequence[str], rows_of: str = "") -> None:
        """Leave a statement of a removal, first: what is removed and not stated so would be missing."""
        registry = open_registry(self.project, self.storage, self.audit)
        held = holds_run(registry, rows_of) if rows_of else {}
        for facets in held.values():
            facets[FILES] = {path: it for path, it in facets[FILES].items() if not path.startswith(f"{EVIDENCE}/")}
        subject = Subject(name=waste.name, digest={"rlhfRemoved": digest_of([waste.kind, waste.name, waste.holder])})
        predicate = {"kind": waste.kind, "what": waste.name, "bytes": waste.size}
        state(registry, REMOVAL, [subject], predicate, {**held, **dict.fromkeys(gone)})

    def _found(self) -> tuple[Graph, set[str], set[str]]:
        """All versions, and what running climbs stand on and read."""
        return (Archive(self.client).everything(), *self._in_use())

    def _evidence(self, graph: Graph) -> Iterator[EvidenceRun]:
        return evidence_runs(Archive(self.client), self.project, graph.versions)

    def _is_registered(self, label: str) -> bool:
        with unless_away():
            self.client.get_model_version(*label.rsplit("/", 1))
            return True
        return False

    def _in_use(self) -> tuple[set[str], set[str]]:
        """Versions that running climbs stand on, and digests of the snapshots that running runs read."""
        in_use, read = set(), set()
        if experiment := self.client.get_experiment_by_name(self.project):
            for run in self.client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'"):
                made = [value for key, value in run.data.tags.items() if key.startswith(STAGE_PREFIX)]
                in_use |= {label for several in made for label in several.split(", ")}
                read |= {json.loads(str(dataset.profile))["digest"] for _, dataset in datasets_of(run)}
        return in_use, read

    def _version(self, version: Version) -> Waste:
        size = stored_size(location_of(self.client, version.model_id))
        return Waste("version", version.label, size, version.created, version.model_id)

    def _kept_snapshots(self, needed: set[str]) -> Iterator[Waste]:
        experiment = self.client.get_experiment_by_name(data_experiment(self.project))
        if experiment is None:
            return
        for run in self.client.search_runs([experiment.experiment_id], max_results=RUNS):
            digest = run.data.tags.get(SNAPSHOT_TAG)
            if digest and digest not in needed:
                size = stored_size(run.info.artifact_uri)
                yield Waste("snapshot", digest, size, run.info.start_time / 1000, run.info.run_id)

    def _stored(self, kind: Local, pattern: str, needed: set[str]) -> Iterator[Waste]:
        """What the storage folder keeps by digest."""
        for path in sorted(self.storage.glob(pattern)):
            if path.stem not in needed:
                yield _waste(kind, path, _beside(path))

    def _reports(self, needed: set[str]) -> Iterator[Waste]:
        """Reports of ingestions that no climb can reuse, as a table of theirs is not needed; MLflow keeps its own."""
        for path in sorted(self.storage.glob("ingests/*")):
            digests = {file.read_text(encoding="utf-8") for file in path.glob(f"*/{DIGEST_FILE}")}
            if not digests or digests - needed:
                yield _waste("ingestion report", path, [path])

    def _unused(self, kind: Local, pattern: str) -> Iterator[Waste]:
        """What trainings left behind or can make again, unless something runs in this storage."""
        if not self._working():
            for path in sorted(self.storage.glob(pattern)):
                yield _waste(kind, path, [path])

    def _working(self) -> bool:
        return any(is_held(lock) for lock in self.storage.glob("work/*.lock"))


def render(wastes: Sequence[Waste], kept: Sequence[Waste] = (), *, removed: bool) -> Group:
    """What goes and how much that is, and which evidence stays."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 2, 0, 0))
    for column in ("kind", "name", "made", "size"):
        table.add_column(column, overflow="fold")
    for waste in wastes:
        table.add_row(waste.kind, escape(waste.name), when(waste.made), decimal(waste.size))
    total = decimal(sum(waste.size for waste in wastes))
    stays = [f"evidence stays: {waste.name}, {decimal(waste.size)}" for waste in kept]
    if not wastes:
        return Group(*stays, "nothing to remove")
    outcome = "removed" if removed else "would go; nothing was removed, --yes removes it"
    return Group(table, "", *stays, f"{len(wastes)} things, {total}, {outcome}")


def _rows(evidence: EvidenceRun) -> Waste:
    return Waste("evidence", evidence.name, evidence.size, evidence.made, evidence.run_id, evidence.of)


def _waste(kind: Local, path: Path, roots: list[Path]) -> Waste:
    files = [item for root in roots for item in (root, *root.rglob("*")) if item.is_file()]
    made = max((item.stat().st_mtime for item in [*files, path]), default=0.0)
    return Waste(kind, str(path), sum(item.stat().st_size for item in files), made)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _beside(path: Path) -> list[Path]:
    """A snapshot with its profile, or a folder alone."""
    return sorted(path.parent.glob(f"{path.stem}.*")) if path.suffix else [path]
