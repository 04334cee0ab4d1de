"""A leftover: something that a process which is gone has left, and what becomes of it."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple


class Leftover(NamedTuple):
    """Something that was left.

    Attributes:
        kind: what sort of thing it is.
        where: its path, its id or its label.
        what: what it is, and how that is known.
        remedy: what `--fix` does, or what a person can do where `fix` is None.
        size: bytes.
        fix: removes it, if it is nobody's still; None where that is not certain.
    """

    kind: str
    where: str
    what: str
    remedy: str
    size: int = 0
    fix: Callable[[], object] | None = None


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if file.is_file())
