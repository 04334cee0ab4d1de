"""A folder for a while, in the storage folder."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIX = ".part"
"""Ends the name of such a folder."""


@contextmanager
def scratch(folder: Path, name: str) -> Iterator[Path]:
    """An empty folder that goes at the end; what is there of a process that was killed goes first.

    Args:
        folder: where it lies.
        name: of the work, whose lock the caller holds.
    """
    path = folder / f"{name}{SUFFIX}"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
