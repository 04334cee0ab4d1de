"""Files in the artifact store: how large they are, and how a logged model goes with its files."""

from mlflow import MlflowClient
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from flows.outages import unless_away


def stored_size(location: str | None) -> int:
    """Bytes below an address of the store; 0 where there is none."""
    return 0 if location is None else _size(get_artifact_repository(location))


def delete_files(location: str) -> None:
    """Delete all that lies at an address of the store."""
    get_artifact_repository(location).delete_artifacts()


def location_of(client: MlflowClient, model_id: str) -> str | None:
    """Where the files of a logged model lie; None if it is gone."""
    with unless_away():
        return str(client.get_logged_model(model_id).artifact_location)
    return None


def delete_model(client: MlflowClient, model_id: str) -> None:
    """Delete a logged model and its files, if it is there."""
    location = location_of(client, model_id)
    if location is not None:
        delete_files(location)
        client.delete_logged_model(model_id)


def _size(store: ArtifactRepository, folder: str | None = None) -> int:
    items = store.list_artifacts(folder)
    return sum(_size(store, item.path) if item.is_dir else item.file_size or 0 for item in items)
