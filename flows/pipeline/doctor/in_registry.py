"""Leftovers in MLflow: runs of dead processes, half uploads, and versions that nothing came of."""

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlparse

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Run
from mlflow.exceptions import MlflowException

from flows.attestation.store import NOT_THERE
from flows.lineage.archive import Archive
from flows.lineage.graph import Graph, Version
from flows.pipeline.doctor.leftover import Leftover, size_of
from flows.pipeline.orphans import end_orphan, find_orphans
from flows.promotion.history import settle
from flows.registry.artifacts import delete_files, delete_model, location_of, stored_size
from flows.registry.client import Registry
from flows.registry.database import deleted_models
from flows.registry.names import (
    DIGEST_TAG,
    MODELS,
    PROCESS_TAG,
    SNAPSHOT_TAG,
    STAGE_PREFIX,
    data_experiment,
    ledger_experiment,
    registered_name,
)
from flows.registry.processes import is_dead

PER_PAGE = 1000


def find_in_registry(client: MlflowClient, project: str, storage: Path) -> Iterator[Leftover]:
    """What there is of a project that no run which lives or ended well has made."""
    experiment = client.get_experiment_by_name(project)
    if experiment is None:
        return
    registry = Registry(client, experiment.experiment_id, storage)
    yield from _runs(registry)
    yield from _promotions(registry, project)
    yield from _snapshots(client, data_experiment(project))
    graph = Archive(client).everything()
    yield from _models(registry)
    yield from _versions(registry, graph, project)


def find_files_of_no_model(client: MlflowClient, storage: Path, database: Path) -> Iterator[Leftover]:
    """Folders of logged models, in the storage of a local registry, of which no version says that it needs them.

    Those that the database never heard of stay: it may be older than they.
    """
    named, deleted = _named(client), deleted_models(database)
    for folder in sorted(storage.glob("artifacts/models/m-*")):
        size = size_of(folder)
        if not size or folder.name in named:
            continue
        if folder.name in deleted:
            yield Leftover(
                "files of a model",
                str(folder),
                "MLflow has deleted this logged model, and no version names it",
                "deletes them",
                size,
                partial(delete_files, folder.as_uri()),
            )
        elif location_of(client, folder.name) is None:
            yield Leftover(
                "files of an unknown model",
                str(folder),
                f"{database.name} knows no such model: it is older than the files, or was begun anew beside them",
                f"stay; put the backup of {database.name} in its place that knows them, or remove them by hand",
                size,
            )


def is_running(run: Run) -> bool:
    """Whether a run goes on, as far as this machine can tell."""
    return run.info.status == "RUNNING" and not is_dead(run.data.tags.get(PROCESS_TAG, ""))


def _runs(registry: Registry) -> Iterator[Leftover]:
    for run in find_orphans(registry):
        process = run.data.tags[PROCESS_TAG].split(":")[1]
        yield Leftover(
            "run",
            run.info.run_id,
            f"{run.info.run_name} says that it is running; its process {process} is dead",
            "ends it as KILLED, in Prefect too",
            fix=partial(end_orphan, registry, run),
        )


def _promotions(registry: Registry, project: str) -> Iterator[Leftover]:
    ledger = registry.client.get_experiment_by_name(ledger_experiment(project))
    if ledger is None:
        return
    for run in find_orphans(Registry(registry.client, ledger.experiment_id, registry.storage)):
        yield Leftover(
            "promotion",
            run.info.run_id,
            f"the promotion of {run.info.run_name} was cut off beside the move of its alias",
            "closes its record as what the alias says",
            fix=partial(settle, registry),
        )


def _snapshots(client: MlflowClient, experiment_name: str) -> Iterator[Leftover]:
    """Uploads of snapshots that did not come to their end; readers pass them over, and a climb uploads anew."""
    experiment = client.get_experiment_by_name(experiment_name)
    if experiment is None:
        return
    for run in _all(client, experiment.experiment_id):
        if SNAPSHOT_TAG in run.data.tags and run.info.status != "FINISHED" and not is_running(run):
            yield Leftover(
                "half a snapshot",
                run.info.run_id,
                f"the upload of {run.info.run_name} was cut off",
                "deletes it with its files",
                stored_size(run.info.artifact_uri),
                partial(_delete_run, client, run),
            )


def _models(registry: Registry) -> Iterator[Leftover]:
    """Logged models of ladders that never became a version, and that no run is about to register."""
    named = _named(registry.client)
    for model in _logged(registry):
        ours = DIGEST_TAG in model.tags
        if ours and model.model_id not in named and not _is_being_made(registry, model.source_run_id):
            yield Leftover(
                "model without a version",
                model.model_id,
                f"a logged model of {model.name} that never became a version",
                "deletes it with its files",
                stored_size(model.artifact_location),
                partial(_delete_unnamed, registry.client, model.model_id),
            )


def _versions(registry: Registry, graph: Graph, project: str) -> Iterator[Leftover]:
    names = {registered_name(project, model) for model in MODELS}
    ours = [version for version in graph.versions.values() if version.name in names]
    told = _told(registry)
    twins = defaultdict(list)
    for version in ours:
        twins[version.name, version.key, version.digest].append(version)
    for version in ours:
        if _is_being_made(registry, version.run_id):
            continue
        free = not version.aliases and not graph.after(version.label)
        lost = _lost(registry.client, version)
        others = [twin for twin in twins[version.name, version.key, version.digest] if twin is not version]
        if lost:
            yield Leftover(
                "version without a model",
                version.label,
                lost,
                "deletes the version" if free else "stays, as it has an alias or others were made from it",
                fix=partial(_delete_version, registry.client, version) if free else None,
            )
        elif free and version.label not in told and any(twin.label in told for twin in others):
            yield Leftover(
                "version of the same content",
                version.label,
                f"as {others[0].label}, which a ladder names; no ladder names this one, and it has no alias",
                "deletes it with its files",
                stored_size(location_of(registry.client, version.model_id)),
                partial(_delete_version, registry.client, version),
            )


def _named(client: MlflowClient) -> set[str]:
    """Ids of the logged models that versions name, those that people registered too."""
    named: set[str] = set()
    token = None
    while True:
        page = client.search_model_versions(max_results=PER_PAGE, page_token=token)
        named |= {str(version.source).removeprefix("models:/") for version in page}
        token = page.token
        if not token:
            return named


def _told(registry: Registry) -> set[str]:
    """Labels of the versions that ladders say they stand on."""
    runs = _all(registry.client, registry.experiment_id)
    named = [value for run in runs for key, value in run.data.tags.items() if key.startswith(STAGE_PREFIX)]
    return {label for several in named for label in several.split(", ")}


def _lost(client: MlflowClient, version: Version) -> str:
    """Why the files of a version cannot be had, empty if they can; only what lies on this machine is looked for."""
    location = location_of(client, version.model_id)
    if location is None:
        return f"its model {version.model_id} was deleted in MLflow"
    address = urlparse(location)
    if address.scheme in ("", "file") and not any(Path(unquote(address.path)).glob("*")):
        return f"its files are not at {unquote(address.path)}"
    return ""


def _is_being_made(registry: Registry, run_id: str | None) -> bool:
    try:
        return run_id is not None and is_running(registry.client.get_run(run_id))
    except MlflowException as error:
        if error.error_code != NOT_THERE:
            raise
        return False


def _logged(registry: Registry) -> Iterator[LoggedModel]:
    token = None
    while True:
        page = registry.client.search_logged_models([registry.experiment_id], page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _all(client: MlflowClient, experiment_id: str) -> Iterator[Run]:
    token = None
    while True:
        page = client.search_runs([experiment_id], max_results=PER_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _delete_run(client: MlflowClient, run: Run) -> None:
    delete_files(run.info.artifact_uri)
    client.delete_run(run.info.run_id)


def _delete_unnamed(client: MlflowClient, model_id: str) -> None:
    """Delete a logged model, unless it became a version meanwhile."""
    if model_id not in _named(client):
        delete_model(client, model_id)


def _delete_version(client: MlflowClient, version: Version) -> None:
    """Delete a version and its model, unless it got an alias meanwhile."""
    if not client.get_model_version(version.name, version.version).aliases:
        client.delete_model_version(version.name, version.version)
        delete_model(client, version.model_id)
