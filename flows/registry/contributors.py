"""Contributors of snapshots: whose rows they hold, kept with each, so that what a batch went into can be told."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow import MlflowClient
from mlflow.entities import Run

from flows.registry.names import CONTRIBUTORS_PREFIX, NAME_TAG, SNAPSHOT_TAG, data_experiment
from flows.registry.references import DatasetRef
from rlhf_core.config import Frozen

if TYPE_CHECKING:
    from flows.registry.client import Registry  # which imports more than whoever only reads needs

CONTRIBUTORS_FILE = "contributors.json"
"""Beside the counts of a table."""

TAG_CHARACTERS = 4000
"""Of a part of what is tagged; MLflow's databases hold a little more."""

TAGS_AT_ONCE = 100

RUNS_PER_PAGE = 1000


class Contributors(Frozen):
    """Who gave the rows of a snapshot in one ingestion.

    Attributes:
        sources: rows by file or data set; one that was merged with others counts for each.
        annotators: votes by annotator, as far as names are known.
        without: what was withdrawn then and left out, as `Withdrawal.target` names it.
    """

    sources: dict[str, int] = {}
    annotators: dict[str, int] = {}
    without: tuple[str, ...] = ()


class SnapshotContributors(Frozen):
    """A snapshot with its contributors in each ingestion that made it.

    Attributes:
        name: which table it is.
        run_id: the run that keeps it.
        ingestions: who gave its rows, by ingestion; the same content may come of other files.
    """

    digest: str
    name: str
    project: str
    run_id: str
    ingestions: tuple[Contributors, ...]

    @property
    def table(self) -> str:
        """Which kind of rows it holds: fresh pairs of a round are preferences."""
        return self.name.partition("-")[0]

    def names(self, kind: str) -> set[str]:
        """All sources or annotators, of any ingestion."""
        return {name for each in self.ingestions for name in (each.sources if kind == "source" else each.annotators)}


def read_contributors(ref: DatasetRef) -> Contributors | None:
    """Who gave the rows of a table, as its report says; None where it does not."""
    path = Path(ref.report) / CONTRIBUTORS_FILE
    return Contributors.model_validate_json(path.read_bytes()) if path.is_file() else None


def contributors_tags(ref: DatasetRef) -> dict[str, str]:
    """What the run of a snapshot is tagged with on its contributors in the ingestion that a reference is of."""
    contributors = read_contributors(ref)
    if contributors is None:
        return {}
    text, ingestion = contributors.model_dump_json(), Path(ref.report).parent.name[-16:]
    parts = (text[start : start + TAG_CHARACTERS] for start in range(0, len(text), TAG_CHARACTERS))
    return {f"{CONTRIBUTORS_PREFIX}{ingestion}.{number:04d}": part for number, part in enumerate(parts)}


def keep_contributors(refs: Iterable[DatasetRef], project: str, registry: "Registry") -> list[str]:
    """Say with each snapshot that is kept who gave its rows this time, unless that stands there; gives the runs."""
    told = []
    tags = {ref.digest: contributors_tags(ref) for ref in refs}
    for run in _kept(registry.client, project):
        wanted = tags.get(run.data.tags[SNAPSHOT_TAG], {})
        missing = [(name, text) for name, text in wanted.items() if name not in run.data.tags]
        for start in range(0, len(missing), TAGS_AT_ONCE):
            registry.tag_run(run.info.run_id, dict(missing[start : start + TAGS_AT_ONCE]))
        told += [run.info.run_id] if missing else []
    return told


def kept_contributors(client: MlflowClient, project: str) -> list[SnapshotContributors]:
    """The snapshots of a project that anything was trained on, with their contributors; two runs may keep one."""
    return [
        SnapshotContributors(
            digest=run.data.tags[SNAPSHOT_TAG],
            name=run.data.tags[NAME_TAG],
            project=project,
            run_id=run.info.run_id,
            ingestions=tuple(_ingestions(run.data.tags)),
        )
        for run in _kept(client, project)
    ]


def _ingestions(tags: Mapping[str, str]) -> Iterator[Contributors]:
    parts: dict[str, list[str]] = defaultdict(list)
    for name in sorted(name for name in tags if name.startswith(CONTRIBUTORS_PREFIX)):
        parts[name.removeprefix(CONTRIBUTORS_PREFIX).rpartition(".")[0]].append(tags[name])
    for texts in parts.values():
        yield Contributors.model_validate(json.loads("".join(texts)))


def _kept(client: MlflowClient, project: str) -> Iterator[Run]:
    experiment = client.get_experiment_by_name(data_experiment(project))
    token = None
    while experiment is not None:
        page = client.search_runs([experiment.experiment_id], max_results=RUNS_PER_PAGE, page_token=token)
        yield from (run for run in page if SNAPSHOT_TAG in run.data.tags and run.info.status == "FINISHED")
        token = page.token
        if not token:
            return
