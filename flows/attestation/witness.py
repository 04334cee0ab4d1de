"""A witness, who keeps copies of statements: a folder, a bucket, or a git remote."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

from flows.attestation.git_witness import GIT, GitLog, clone_of
from flows.attestation.store import STATEMENTS, LogStore
from flows.storage.locations import local_folder


class KeptLog(Protocol):
    """The log of a project where it is kept; every such place is only added to.

    Attributes:
        address: as messages have it.
    """

    address: str

    def names(self) -> set[str]:
        """Names of its files."""

    def put(self, files: Sequence[Path]) -> None:
        """Copy files into it."""

    def copied(self) -> AbstractContextManager[Path]:
        """A folder of this machine with its files."""


class Witness(NamedTuple):
    """Who keeps copies.

    Attributes:
        address: a folder, an address of an artifact store such as `s3://bucket/folder`, or `git+` and that of a remote.
        folder: in which the copy of a remote may lie.
    """

    address: str
    folder: Path

    def log(self, project: str) -> KeptLog:
        """What it keeps of a project."""
        if self.address.startswith(GIT):
            return GitLog(self.address, project, clone_of(self.address, project, self.folder))
        return LogStore(f"{self._logs}/{project}")

    def projects(self) -> set[str]:
        """Projects of which it keeps a log."""
        if not self.address.startswith(GIT):
            return LogStore(self._logs).folders()
        with self.log("").copied() as folder:
            return LogStore(str(folder)).folders()

    @property
    def _logs(self) -> str:
        folder = local_folder(self.address)
        return f"{self.address.rstrip('/') if folder is None else folder}/{STATEMENTS}"
