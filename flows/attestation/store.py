"""Where statements lie: a folder of the artifact store beside the registry, and a folder of a witness."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from flows.storage.locations import local_folder
from rlhf_core.training.durable import flush

STATEMENTS = "statements"
"""Folder of the logs of all projects, in a storage folder, an artifact store and a witness."""

NOT_THERE = "RESOURCE_DOES_NOT_EXIST"
"""What MLflow says of something that there is not."""


def log_address(artifacts: str, project: str) -> str:
    """Where the statements of a project lie.

    Args:
        artifacts: where the artifacts of its experiment lie.
        project: name of that experiment.
    """
    return f"{artifacts.rstrip('/')}/{STATEMENTS}/{project}"


class LogStore:
    """A folder of an artifact store that is only added to.

    Args:
        address: as MLflow has it; that of a folder of this machine is one too.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._folder = local_folder(address)

    def names(self) -> set[str]:
        """Names of the files in it; none where there is no such folder yet."""
        if self._folder is not None:
            return names_in(self._folder)
        try:
            listed = get_artifact_repository(self.address).list_artifacts()
        except MlflowException as error:
            if error.error_code != NOT_THERE:
                raise
            return set()
        return {item.path.rpartition("/")[2] for item in listed if not item.is_dir} - {""}

    def folders(self) -> set[str]:
        """Names of the folders in it."""
        if self._folder is not None:
            return {path.name for path in self._folder.glob("*") if path.is_dir()}
        listed = get_artifact_repository(self.address).list_artifacts()
        return {item.path.rpartition("/")[2] for item in listed if item.is_dir}

    def put(self, files: Sequence[Path]) -> None:
        """Copy files into it, by the names that they have; those that are there already stay as they are."""
        for file in files:
            if self._folder is not None:
                write_once(self._folder / file.name, file.read_bytes())
            else:
                get_artifact_repository(self.address).log_artifact(str(file))

    @contextmanager
    def copied(self) -> Iterator[Path]:
        """The folder on this machine while the context lasts; empty where there is none."""
        with tempfile.TemporaryDirectory() as scratch:
            if self._folder is not None:
                yield self._folder if self._folder.is_dir() else Path(scratch)
                return
            if self.names():
                get_artifact_repository(self.address).download_artifacts("", scratch)
            yield Path(scratch)


def names_in(folder: Path) -> set[str]:
    """Names of the files of a folder; none where there is no such folder, and without drafts, folders and links."""
    try:
        found = (entry for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False))
        return {entry.name for entry in found if not entry.name.startswith(".")}
    except FileNotFoundError:
        return set()


def write_once(path: Path, content: bytes) -> None:
    """Write a file that is on the disk, whole, when this returns; one that is there already stays as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as draft:
        draft.write(content)
        draft.flush()
        os.fsync(draft.fileno())
    try:
        os.chmod(draft.name, 0o444)
        with suppress(FileExistsError):
            _link(Path(draft.name), path)
    finally:
        Path(draft.name).unlink(missing_ok=True)
    flush(path.parent)


def _link(draft: Path, path: Path) -> None:
    """Give a draft its name, unless that is taken; file systems without links copy."""
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:
        if path.exists():
            raise FileExistsError(path) from None
        shutil.move(draft, path)
