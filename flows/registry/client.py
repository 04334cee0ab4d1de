"""The model registry: every MLflow call about versions, files and aliases; those about runs are in `runs`."""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, LoggedModelInput, LoggedModelOutput, LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from flows.attestation.store import NOT_THERE
from flows.config.audit import AuditConfig
from flows.config.credentials import part_credentials
from flows.config.errors import InputError
from flows.outages import unless_away
from flows.registry.artifacts import delete_model
from flows.registry.database import ARTIFACTS, prepare_database
from flows.registry.keys import files_artifact
from flows.registry.names import CHAMPION, DATASET_PREFIX, DIGEST_TAG, GATED, registered_name
from flows.registry.references import ModelRef
from flows.registry.runs import Runs
from flows.storage.digests import file_changes, file_digests, folder_digest, total_digest
from flows.storage.locations import local_folder


def open_registry(project: str, storage: Path, audit: AuditConfig | None = None) -> "Registry":
    """Connect to the tracking server, preparing its local database first where there is one.

    Args:
        project: name of the experiment and prefix of the registered names.
        storage: folder for artifacts of a local database, and for copies of remote models.
        audit: how statements are signed and kept; by default as a configuration without a word of it.

    Raises:
        InputError: if the experiment was deleted, or cannot be made.
    """
    part_credentials()
    prepare_database()
    uri, client = mlflow.get_tracking_uri(), MlflowClient()
    experiment = client.get_experiment_by_name(project)
    if experiment is None:
        location = (storage / ARTIFACTS).as_uri() if uri.startswith("sqlite:") else None
        with unless_away():  # another process made it in the meantime; looked up below
            client.create_experiment(project, artifact_location=location)
        experiment = client.get_experiment_by_name(project)
    if experiment is None or not experiment.experiment_id:
        raise InputError(f"MLflow at {uri} did not make the experiment '{project}'; check that it accepts writes")
    if experiment.lifecycle_stage != LifecycleStage.ACTIVE:
        raise InputError(
            f"the experiment '{project}' was deleted in MLflow: restore it by `MLFLOW_TRACKING_URI={uri} mlflow "
            f"experiments restore --experiment-id {experiment.experiment_id}`, or give the project another name"
        )
    return Registry(client, experiment.experiment_id, storage, audit)


class Registry(Runs):
    """One experiment of a tracking server, and the model registry behind it."""

    def register(
        self,
        folder: Path,
        name: str,
        *,
        run_id: str,
        parents: Mapping[str, ModelRef],
        tags: Mapping[str, str],
        description: str,
    ) -> ModelRef:
        """Store a folder that `from_pretrained` reads as a new version, once per run and content.

        Args:
            folder: files of the model.
            name: registered name.
            run_id: the run that made it; the model becomes its output, the parents its inputs.
            parents: models that this one was made from, by role.
            tags: lineage of the version.
            description: shown beside the version.
        """
        files = file_digests(folder)
        digest = total_digest(files)
        earlier = self.versions_of(name, run_id)
        for ref in earlier:
            if ref.digest == digest:
                self._link(ref)
                return ref
        self._drop_unregistered(name, run_id, earlier)
        tags = {**tags, DIGEST_TAG: digest}
        self.client.log_dict(run_id, files, files_artifact(name))
        model = self.client.create_logged_model(
            self.experiment_id, name=name, source_run_id=run_id, tags=tags, model_type="transformers"
        )
        self.client.log_model_artifacts(model.model_id, str(folder))
        self.client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        self.client.log_inputs(run_id, models=[LoggedModelInput(parent.model_id) for parent in parents.values()])
        self.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        with unless_away():  # the name is already registered
            self.client.create_registered_model(name)
        version = self.client.create_model_version(
            name, f"models:/{model.model_id}", run_id, tags=tags, description=description, model_id=model.model_id
        )
        made = self.reference(name, str(version.version))
        self._link(made)
        return made

    def _link(self, ref: ModelRef) -> None:
        """Let the page of a logged model link to its version."""
        versions = json.dumps([{"name": ref.name, "version": ref.version}])
        self.client.set_logged_model_tags(ref.model_id, {MLFLOW_MODEL_VERSIONS: versions})

    def versions_of(self, name: str, run_id: str) -> list[ModelRef]:
        """The versions of a name that a run registered."""
        found = self.client.search_model_versions(f"name='{name}' and run_id='{run_id}'")
        return [self.reference(name, str(version.version)) for version in found]

    def _drop_unregistered(self, name: str, run_id: str, versions: Sequence[ModelRef]) -> None:
        """Delete what uploads of a run left that were cut off before they were versions."""
        query = f"name = '{name}' AND source_run_id = '{run_id}'"
        for model in self.client.search_logged_models([self.experiment_id], filter_string=query):
            if model.model_id not in {ref.model_id for ref in versions}:
                delete_model(self.client, model.model_id)

    def reference(self, name: str, version: str) -> ModelRef:
        """Look a version up.

        Raises:
            InputError: when it does not exist or was not registered by this project.
        """
        registered = None
        with unless_away():
            registered = self.client.get_model_version(name, version)
        if registered is None:
            raise InputError(f"{name}/{version} is not in the registry; `rlhf ui` shows what is")
        model_id = str(registered.source).removeprefix("models:/")  # MLflow 3.17 leaves `model_id` of a version empty
        if DIGEST_TAG not in registered.tags or not model_id.startswith("m-"):
            raise InputError(f"{name}/{version} has no digest tag: it was not registered by a ladder")
        return ModelRef(
            name=name,
            version=version,
            model_id=model_id,
            uri=f"models:/{name}/{version}",
            digest=registered.tags[DIGEST_TAG],
            run_id=str(registered.run_id),
        )

    def champion(self, name: str) -> ModelRef | None:
        """The version of a model that is champion, None where none is."""
        with unless_away():
            return self.reference(name, str(self.client.get_model_version_by_alias(name, CHAMPION).version))
        return None

    def champion_data(self, project: str) -> dict[str, str]:
        """Digests of the tables that the champions of a project were trained on, by name; none without a champion."""
        digests: dict[str, str] = {}
        for stage in GATED:
            with unless_away():  # no such model, or no champion yet
                champion = self.client.get_model_version_by_alias(registered_name(project, stage), CHAMPION)
                tables = (tag for key, tag in champion.tags.items() if key.startswith(DATASET_PREFIX))
                digests |= dict(tag.split(":", 1) for tag in tables)
        return digests

    def resolve(self, model: str) -> Path:
        """Find the files of a model that a person names.

        Args:
            model: a folder, `name/version` or `name@alias`.

        Raises:
            InputError: when there is no such folder, version or alias.
        """
        return Path(model) if Path(model).is_dir() else self.folder(self.pin(model))

    def pin(self, model: str) -> ModelRef:
        """Find the version that `name/version` or, at this moment, `name@alias` means.

        Raises:
            InputError: when there is no such version or alias.
        """
        name, at, alias = model.partition("@")
        if at:
            with unless_away():
                return self.reference(name, str(self.client.get_model_version_by_alias(name, alias).version))
            raise InputError(f"{name} has no alias '{alias}'; `rlhf ui` shows the versions")
        name, slash, version = model.rpartition("/")
        if not slash or not version.isdigit():
            raise InputError(f"{model} is no folder; name a model as name/version or name@alias")
        return self.reference(name, version)

    def intact(self, ref: ModelRef) -> bool:
        """Whether the version still exists with the same content, and its files can be had."""
        with contextlib.suppress(InputError, OSError), unless_away():
            return self.reference(ref.name, ref.version).digest == ref.digest and self.folder(ref).is_dir()
        return False

    def folder(self, ref: ModelRef) -> Path:
        """The files of a version on this machine, verified against its digest.

        Raises:
            InputError: when the files are gone or changed since they were registered.
        """
        location = self._location(ref)
        folder = local_folder(location)
        if folder is not None:
            self._check(ref, folder, location)
            return folder
        copy = self.storage / "copies" / ref.digest
        if folder_digest(copy) != ref.digest:
            shutil.rmtree(copy, ignore_errors=True)
            self._download(ref, location, copy)
        return copy

    def verify(self, ref: ModelRef) -> None:
        """Hold the files of a version, as the artifact store has them now, against its digest.

        Raises:
            InputError: when the files are gone or changed since they were registered.
        """
        location = self._location(ref)
        folder = local_folder(location)
        if folder is not None:
            self._check(ref, folder, location)
            return
        with tempfile.TemporaryDirectory(dir=self.storage) as scratch:
            self._download(ref, location, Path(scratch) / ref.digest)

    def _location(self, ref: ModelRef) -> str:
        """Where the artifact store has the files of a version."""
        try:
            return str(self.client.get_logged_model(ref.model_id).artifact_location)
        except MlflowException as error:
            if error.error_code != NOT_THERE:
                raise
            raise InputError(
                f"{ref.label}: its files are gone: model {ref.model_id} was deleted in MLflow; take another version"
            ) from None

    def _check(self, ref: ModelRef, folder: Path, location: str) -> None:
        """Hold what lies in a folder against the digest of a version, whose files come from a location."""
        digests, place = file_digests(folder), local_folder(location) or location
        if not digests:
            raise InputError(
                f"{ref.label}: its files are not at {place}: the storage was moved, or they were deleted; put them "
                "back there, or take another version"
            )
        if total_digest(digests) != ref.digest:
            registered = self.document(ref.run_id, files_artifact(ref.name))
            known = registered is not None and total_digest(registered) == ref.digest
            what = str(file_changes(registered, digests)) if registered and known else "which cannot be told"
            raise InputError(
                f"{ref.label}: files in {place} do not match the registered digest ({what}): put them back from a "
                "copy, or take another version"
            )

    def _download(self, ref: ModelRef, location: str, folder: Path) -> None:
        """Copy files from the artifact store, whole and sound or not at all; by `models:` MLflow would add one."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            part = Path(scratch) / folder.name
            part.mkdir()
            try:
                get_artifact_repository(location).download_artifacts("", str(part))
            except MlflowException as error:
                if error.error_code != NOT_THERE:
                    raise
            self._check(ref, part, location)
            part.rename(folder)

    def tag_versions(self, refs: Iterable[ModelRef], tags: Mapping[str, str]) -> None:
        """Set the same tags on several versions."""
        for ref in refs:
            with self.alone(ref.name):
                for key, value in tags.items():
                    self.client.set_model_version_tag(ref.name, ref.version, key, value)

    def set_alias(self, ref: ModelRef, alias: str) -> None:
        """Move an alias to a version."""
        with self.alone(ref.name):
            self.client.set_registered_model_alias(ref.name, alias, ref.version)

    def take_alias(self, refs: Iterable[ModelRef], alias: str) -> list[ModelRef]:
        """Take an alias off those versions that hold it, and say which did."""
        taken = []
        for ref in refs:
            with self.alone(ref.name):
                if str(self.client.get_registered_model(ref.name).aliases.get(alias)) == ref.version:
                    self.client.delete_registered_model_alias(ref.name, alias)
                    taken.append(ref)
        return taken
