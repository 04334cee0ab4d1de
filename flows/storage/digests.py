"""Digests of files and folders."""

import hashlib
from collections.abc import Mapping
from pathlib import Path


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a folder by its relative name, in the order of the paths."""
    digests = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
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
