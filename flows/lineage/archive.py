"""Read-only access to the lineage in registry and artifact store."""

import contextlib
import functools
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from pydantic import ValidationError

from flows.config.errors import InputError
from flows.lineage.graph import Graph, Version
from flows.lineage.training_record import Training, datasets_of, read_training
from flows.outages import gave_up, unless_away
from flows.registry.lookup import parse_version
from flows.registry.names import (
    ANNOTATOR_PREFIX,
    CARD_TAG,
    CODE_TAG,
    DATASET_PREFIX,
    DIGEST_TAG,
    EVIDENCE_PREFIX,
    GATE_PREFIX,
    KEY_TAG,
    LICENCE_TAG,
    ORIGIN_PREFIX,
    PARENT_PREFIX,
    PARENT_RUN_TAG,
    SNAPSHOT_TAG,
    SOURCE_PREFIX,
    STAGE_PREFIX,
    STAGE_TAG,
    TEMPLATE_DAY_TAG,
    TRAINED_BY_TAG,
    WITHDRAWN_PREFIX,
    data_experiment,
)
from flows.registry.references import Counts

PER_PAGE = 10_000


class Kept(NamedTuple):
    """The run that keeps a snapshot."""

    experiment_id: str
    run_id: str


class Archive:
    """A tracking server, read only; a run and an experiment are read once."""

    def __init__(self, client: MlflowClient) -> None:
        self.client = client
        self._run = functools.cache(client.get_run)
        self._experiment = functools.cache(client.get_experiment)
        self._experiment_of_name = functools.cache(client.get_experiment_by_name)

    # Versions

    def find(self, model: str) -> Version:
        """The version that a person names as `name/version` or `name@alias`, with or without `models:/`.

        Raises:
            InputError: if there is none, or no ladder registered it.
        """
        name, version, alias = parse_version(model)
        with unless_away():
            version = version or str(self.client.get_model_version_by_alias(name, str(alias)).version)
            ladder_version = version_of(self.client.get_model_version(name, version))
            if ladder_version is None:
                raise InputError(f"{model} has no digest tag: it was not registered by a ladder")
            return ladder_version
        raise InputError(f"{model} is not in the registry at {mlflow.get_tracking_uri()}")

    def ancestry(self, versions: list[Version]) -> Graph:
        """The graph of what went into some versions; only those are read."""
        versions_by_label = {version.label: version for version in versions}
        waiting = [label for version in versions for label in _made_from(version)]
        visited: set[str] = set(versions_by_label)
        while waiting:
            label = waiting.pop()
            if label in visited:
                continue
            visited.add(label)
            try:
                versions_by_label[label] = self.find(label)
            except InputError:
                continue  # the graph calls it missing
            waiting += _made_from(versions_by_label[label])
        return Graph(versions_by_label.values())

    def aliases(self) -> dict[str, list[str]]:
        """The aliases of every version that holds one."""
        aliases: dict[str, list[str]] = {}
        for model in pages(self.client.search_registered_models, 1000):
            for alias, version in model.aliases.items():
                aliases.setdefault(f"{model.name}/{version}", []).append(alias)
        return aliases

    def names(self) -> set[str]:
        """All registered names."""
        return {model.name for model in pages(self.client.search_registered_models, 1000)}

    def everything(self) -> Graph:
        """The graph of all versions that ladders registered."""
        aliases = self.aliases()
        items = pages(self.client.search_model_versions, PER_PAGE)
        versions = (version_of(item, aliases.get(f"{item.name}/{item.version}", [])) for item in items)
        return Graph(version for version in versions if version is not None)

    # Runs

    def snapshot(self, project: str, digest: str) -> Kept | None:
        """The run that keeps a snapshot of a project as `<digest>.parquet`; None if there is none."""
        experiment = self._experiment_of_name(data_experiment(project))
        if experiment is None:
            return None
        query = f"tags.`{SNAPSHOT_TAG}` = '{digest}' and attributes.status = 'FINISHED'"
        runs = self.client.search_runs([experiment.experiment_id], query, max_results=1)
        return Kept(runs[0].info.experiment_id, runs[0].info.run_id) if runs else None

    def training(self, run_id: str) -> Training | None:
        """What a run recorded; None if it is gone."""
        run = None
        with unless_away():
            run = self._run(run_id)
        if run is None:
            return None
        return read_training(run, self._experiment(run.info.experiment_id).name, self._reports(run))

    def metrics(self, run_id: str, prefix: str, model_id: str | None) -> dict[str, dict[str, list[float]]]:
        """What MLflow shows of the metrics of a run whose names have a prefix, by name, by where it shows them.

        Args:
            run_id: a run that is there.
            prefix: of the names.
            model_id: the logged model on whose page they are shown too, if there is one.
        """
        latest = self._run(run_id).data.metrics
        names = [name for name in latest if name.startswith(prefix)]
        history = {name: [item.value for item in self.client.get_metric_history(run_id, name)] for name in names}
        shown = {"its page": {name: [latest[name]] for name in names}, "its curve": history}
        if model_id is not None:
            by_name: dict[str, list[float]] = {}
            for metric in self.client.get_logged_model(model_id).metrics or ():
                if metric.run_id == run_id and metric.key.startswith(prefix):
                    by_name.setdefault(metric.key, []).append(metric.value)
            shown["the page of the model"] = by_name
        return shown

    def judged(self, version: Version, stage: str) -> list[Run]:
        """Runs of the pipeline that stood on a version of a stage, the oldest first."""
        tag, experiment = f"{STAGE_PREFIX}{stage}", self._run(version.run_id).info.experiment_id
        query, oldest_first = f"tags.`{tag}` LIKE '%{version.label}%'", ["attributes.start_time ASC"]
        search = functools.partial(self.client.search_runs, [experiment], query, order_by=oldest_first)
        return [run for run in pages(search, 1000) if version.label in run.data.tags[tag].split(", ")]

    def runs(self, project: str) -> Iterator[Run]:
        """All runs of a project that nobody deleted, with the datasets that they name."""
        experiment = self._experiment_of_name(project)
        if experiment is not None:
            yield from pages(functools.partial(self.client.search_runs, [experiment.experiment_id]), PER_PAGE)

    def tags(self, run_id: str) -> dict[str, str]:
        """Tags of a run; none where it is gone."""
        with unless_away():
            return dict(self._run(run_id).data.tags)
        return {}

    def children(self, run: Run, stage: str) -> list[Run]:
        """Runs below a run that say they are a stage."""
        query = f"tags.`{PARENT_RUN_TAG}` = '{run.info.run_id}' and tags.`{STAGE_TAG}` = '{stage}'"
        runs = self.client.search_runs([run.info.experiment_id], query)
        return [self._run(child.info.run_id) for child in runs]  # the search leaves inputs out

    def document(self, run_id: str, path: str) -> Any:
        """A JSON artifact of a run; None if it is not there or no JSON."""
        with self.file(run_id, path) as file, contextlib.suppress(ValueError):
            return None if file is None else json.loads(file.read_bytes())
        return None

    @contextmanager
    def file(self, run_id: str, path: str) -> Iterator[Path | None]:
        """A copy of an artifact of a run, while the context lasts; None if it is not there."""
        with tempfile.TemporaryDirectory() as folder:
            yield _fetched(lambda: self._run(run_id).info.artifact_uri, path, folder)

    @contextmanager
    def files(self, version: Version) -> Iterator[Path | None]:
        """A fresh copy of the files of a version, while the context lasts; None if they cannot be had."""
        with tempfile.TemporaryDirectory() as folder:
            yield _fetched(lambda: self.client.get_logged_model(version.model_id).artifact_location, "", folder)

    def loads_its_files(self, version: Version) -> bool:
        """Whether MLflow loads a version from where its logged model lies."""
        with unless_away():
            place = str(self.client.get_model_version_download_uri(version.name, version.version))
            model = str(self.client.get_logged_model(version.model_id).artifact_location)
            return place.rstrip("/") in (model.rstrip("/"), f"models:/{version.model_id}")
        return True  # they are gone, which is told of who reads them

    def _reports(self, run: Run) -> dict[str, Counts]:
        """What became of the raw rows of the tables that a run read, by name; without those whose report is unsound."""
        reports = {}
        for name in {dataset.name for _, dataset in datasets_of(run)}:
            with contextlib.suppress(ValidationError):
                document = self.document(run.info.run_id, f"data/{name}/counts.json")
                reports[name] = Counts.model_validate(document)
        return reports


def version_of(registered: ModelVersion, aliases: Sequence[str] | None = None) -> Version | None:
    """A version as its tags describe it; None if no ladder registered it.

    Args:
        registered: as the registry gives it.
        aliases: where the registry does not give them with it.
    """
    tags, model_id = registered.tags, str(registered.source).removeprefix("models:/")
    if DIGEST_TAG not in tags or not model_id.startswith("m-"):
        return None
    parents, parent_digests = _with_digests(tags, PARENT_PREFIX)
    origins, origin_digests = _with_digests(tags, ORIGIN_PREFIX)
    return Version(
        name=registered.name,
        version=str(registered.version),
        description=registered.description or "",
        digest=tags[DIGEST_TAG],
        key=tags.get(KEY_TAG, ""),
        code=tags.get(CODE_TAG, ""),
        model_id=model_id,
        run_id=str(registered.run_id),
        created=registered.creation_timestamp / 1000,
        aliases=tuple(sorted(registered.aliases if aliases is None else aliases)),
        gates=_tagged(tags, GATE_PREFIX),
        parents=parents,
        parent_digests=parent_digests,
        datasets=_tagged(tags, DATASET_PREFIX),
        sources=_tagged(tags, SOURCE_PREFIX),
        origins=origins,
        origin_digests=origin_digests,
        annotators=_tagged(tags, ANNOTATOR_PREFIX),
        card=tags.get(CARD_TAG, ""),
        licence=tags.get(LICENCE_TAG, ""),
        template_day=tags.get(TEMPLATE_DAY_TAG, ""),
        evidence=_tagged(tags, EVIDENCE_PREFIX),
        trained_by=tags.get(TRAINED_BY_TAG, ""),
        withdrawn=_tagged(tags, WITHDRAWN_PREFIX),
    )


def _made_from(version: Version) -> list[str]:
    """Versions that went into one, or into the datasets that it was made from."""
    return [*version.parents.values(), *version.origins.values()]


def _with_digests(tags: Mapping[str, str], prefix: str) -> tuple[dict[str, str], dict[str, str]]:
    """Versions that tags name, and what their digests were, by role."""
    tagged = _tagged(tags, prefix)
    labels = {role: label for role, label in tagged.items() if not role.endswith(".digest")}
    return labels, {role: tagged[f"{role}.digest"] for role in labels if f"{role}.digest" in tagged}


def _tagged(tags: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {key.removeprefix(prefix): value for key, value in tags.items() if key.startswith(prefix)}


def pages(search: Callable[..., Any], size: int) -> Iterator[Any]:
    """Everything that a search of the registry finds, page by page."""
    token = None
    while token != "":
        page = search(max_results=size, page_token=token)
        yield from page
        token = page.token or ""


def _fetched(locate: Callable[[], str], path: str, folder: str) -> Path | None:
    """Download from the place that `locate` finds; None if there is no such place, or nothing there."""
    try:
        return Path(get_artifact_repository(locate()).download_artifacts(path, folder))
    except (MlflowException, OSError) as error:
        if gave_up(error):
            raise
        return None
