"""Data that people name: a source, an annotator, a group of prompts or a dataset, and what they went into."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import cast

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_contracts.records import Kind
from flows.config.errors import InputError
from flows.lineage.archive import Archive
from flows.lineage.graph import Graph, Version
from flows.registry.contributors import SnapshotContributors, kept_contributors
from flows.registry.lookup import DATA_KINDS, DATASET
from flows.registry.names import data_experiment
from flows.registry.withdrawals import DataName, WithdrawnKind, hashed_group
from flows.storage.row_keys import row_keys

NEAREST = 3
"""Known names that an error lists."""

GROUP_SHOWN = 60
"""Characters of a group that an error shows."""


class DataBook:
    """The snapshots of some projects that anything was trained on, with who gave their rows.

    Args:
        archive: registry and artifact store.
        projects: whose; all that have data, if not given.
        beside: further names of sources and annotators, by kind, that were read and nothing was trained on yet.
    """

    def __init__(
        self, archive: Archive, projects: list[str] | None = None, beside: dict[str, set[str]] | None = None
    ) -> None:
        self.archive = archive
        names = [*_projects(archive)] if projects is None else projects
        self.snapshots = [kept for project in names for kept in kept_contributors(archive.client, project)]
        self._beside = beside or {}

    def find(self, text: str) -> DataName:
        """What a person means by `dataset:DIGEST`, `source:NAME`, `annotator:NAME`, `group:NAME`, or a name alone.

        Raises:
            InputError: if nothing is called so, naming the nearest that are, or several kinds are.
        """
        prefix, colon, rest = text.partition(":")
        if colon and prefix in DATA_KINDS:
            return self._dataset(rest) if text.startswith(DATASET) else self._named(prefix, rest)
        meant = [found for kind in ("source", "annotator", "group") if (found := self._exact(kind, text))]
        if len(meant) > 1:
            kinds = ", ".join(f"{found.kind}:{text}" for found in meant)
            raise InputError(f"{text}: several are called so; write one of {kinds}")
        if not meant:
            raise InputError(f"{text}: no source, annotator or group of the data is called so{self._nearest(text)}")
        return meant[0]

    def digests(self, data: DataName) -> set[str]:
        """Snapshots that hold rows of some data, unless an ingestion that left these out made the same."""
        rows = self._keys_of(data) if data.kind == "dataset" else None
        return {
            kept.digest
            for kept in self.snapshots
            if not any(data.target in ingestion.without for ingestion in kept.ingestions)
            and self._holds(kept, data, rows)
        }

    def versions(self, graph: Graph, data: DataName) -> list[Version]:
        """Every version that some data went into, those that hold an alias first, then the newest."""
        nodes = {DATASET + digest for digest in self.digests(data)} & set(graph.nodes)
        found = {version.label: version for node in nodes for version in graph.after(node)}
        return sorted(found.values(), key=lambda version: (not version.aliases, -version.created, version.label))

    def keys(self, kept: SnapshotContributors) -> NDArray[np.uint64]:
        """The keys of the rows of a snapshot."""
        with self.archive.file(kept.run_id, f"{kept.digest}.parquet") as path:
            if path is None:
                raise InputError(f"dataset:{kept.digest[:12]}: no longer kept, so which rows it held cannot be told")
            return row_keys(cast(Kind, kept.table), pq.read_table(path).to_pandas())

    def kept(self, data: DataName) -> SnapshotContributors:
        """The snapshot that a dataset is."""
        return next(kept for kept in self.snapshots if kept.digest == data.name)

    def _keys_of(self, data: DataName) -> NDArray[np.uint64] | None:
        known = [kept for kept in self.snapshots if kept.digest == data.name]
        return self.keys(known[0]) if known else None

    def _holds(self, kept: SnapshotContributors, data: DataName, rows: NDArray[np.uint64] | None) -> bool:
        match data.kind:
            case "dataset":
                if kept.digest == data.name or rows is None or kept.table != data.table:
                    return kept.digest == data.name
                return bool(np.isin(self.keys(kept), rows).any())
            case "group":
                return any(hashed_group(group) == data.name for group in self._column(kept, "group"))
            case "source" if not kept.ingestions:
                return data.name in self._column(kept, "source")
            case _:
                return data.name in kept.names(data.kind)

    def _column(self, kept: SnapshotContributors, name: str) -> set[str]:
        """What stands in a column of a snapshot; nothing where it is gone."""
        with self.archive.file(kept.run_id, f"{kept.digest}.parquet") as path:
            if path is None or name not in pq.read_schema(path).names:
                return set()
            return set(pq.read_table(path, columns=[name])[name].to_pylist())

    def _known(self, kind: str) -> set[str]:
        if kind == "group":
            return {group for kept in self.snapshots for group in self._column(kept, "group")}
        old = (self._column(kept, "source") for kept in self.snapshots if kind == "source" and not kept.ingestions)
        known = {name for kept in self.snapshots for name in kept.names(kind)}
        return known.union(self._beside.get(kind, set()), *old)

    def _exact(self, kind: str, name: str) -> DataName | None:
        if name not in self._known(kind):
            return None
        return DataName(cast(WithdrawnKind, kind), hashed_group(name) if kind == "group" else name)

    def _named(self, kind: str, name: str) -> DataName:
        found = self._exact(kind, name)
        if found is None:
            raise InputError(f"{kind}:{name}: no {kind} of the data is called so{self._nearest(name, kind)}")
        return found

    def _dataset(self, prefix: str) -> DataName:
        found = {kept.digest: kept for kept in self.snapshots if kept.digest.startswith(prefix)}
        if len(found) == 1:
            (kept,) = found.values()
            return DataName("dataset", kept.digest, kept.table)
        if found:
            raise InputError(f"dataset:{prefix}: starts {len(found)} digests; give more of it")
        known = {f"{kept.digest[:12]} ({kept.name})" for kept in self.snapshots}
        nearest = get_close_matches(prefix, known, n=NEAREST, cutoff=0.0)
        there = f"; there are {', '.join(nearest)}" if nearest else "; nothing was trained on any yet"
        raise InputError(f"dataset:{prefix}: starts no digest that a version names{there}")

    def _nearest(self, name: str, *kinds: str) -> str:
        known = {other for kind in kinds or ("source", "annotator", "group") for other in self._known(kind)}
        shown = [one[:GROUP_SHOWN] for one in get_close_matches(name, known, n=NEAREST, cutoff=0.4)]
        if shown:
            return f"; did you mean {' or '.join(shown)}?"
        some = ", ".join(sorted(one[:GROUP_SHOWN] for one in known)[:NEAREST])
        return f"; there are {len(known)}, such as {some}" if known else "; no data are known yet: `rlhf ingest` first"


def _projects(archive: Archive) -> Iterator[str]:
    suffix = data_experiment("")
    for experiment in archive.client.search_experiments():
        if experiment.name.endswith(suffix):
            yield experiment.name.removesuffix(suffix)
