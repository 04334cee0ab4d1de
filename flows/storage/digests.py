"""Digests of files and folders."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

NO_FILE = "no file"
"""Stands for the digest of what has no content of its own."""


class FileChanges(NamedTuple):
    """Files of a folder that are not what they were."""

    missing: tuple[str, ...]
    altered: tuple[str, ...]
    added: tuple[str, ...]

    def __str__(self) -> str:
        return "; ".join(f"{what}: {', '.join(names)}" for what, names in self._asdict().items() if names)


def file_changes(then: Mapping[str, str], now: Mapping[str, str]) -> FileChanges:
    """What became of files between two `file_digests` of a folder."""
    return FileChanges(
        missing=tuple(name for name in then if name not in now),
        altered=tuple(name for name in then if name in now and now[name] != then[name]),
        added=tuple(name for name in now if name not in then),
    )


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a folder by its relative name, in the order of the paths.

    Links to folders, devices and pipes are named too, as `NO_FILE`: what they lead to was not registered.
    """
    return digests_of(folder, sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()))


def digests_of(folder: Path, files: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of some files of a folder by their relative names, in their order."""
    digests = {}
    for path in files:
        if not path.is_file():
            digests[path.relative_to(folder).as_posix()] = NO_FILE
            continue
        with path.open("rb") as file:
            digests[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def total_digest(files: Mapping[str, str]) -> str:
    """SHA-256 over names and digests of files, in their order."""
    total = hashlib.sha256()
    for name, digest in files.items():
        total.update(f"{name}\0{digest}\n".encode())
    return total.hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256 over the relative names and contents of all files of a folder."""
    return total_digest(file_digests(folder))
