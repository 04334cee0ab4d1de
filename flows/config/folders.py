"""Folders that are written to."""

import os
from pathlib import Path

from flows.config.errors import InputError


def plain_path(path: Path) -> Path:
    """A path without steps that lead back, as a person writes it; as it is where a link makes them lead elsewhere."""
    plain = Path(os.path.normpath(path))
    return plain if plain == path or os.path.realpath(plain) == os.path.realpath(path) else path


def shown_path(path: Path) -> str:
    """A path as a person would write it in the working folder."""
    plain, here = plain_path(path), Path.cwd()
    return str(plain.relative_to(here) if plain.is_relative_to(here) else plain)


def make_folder(folder: Path, *, mode: int = 0o777) -> None:
    """Make a folder unless it is there.

    Args:
        folder: made with those above it.
        mode: who may enter it, less what the umask takes; 0o700 for secrets.

    Raises:
        InputError: if it cannot be made or written to.
    """
    check_folder(folder)
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); name another folder") from None


def check_folder(folder: Path) -> None:
    """See whether a folder could be made and written to, and make nothing.

    Raises:
        InputError: naming what is in the way.
    """
    nearest = see_folder(folder)
    if not _may_write(nearest):
        raise InputError(f"{folder}: {nearest} may not be written to; give this user the right, or name another folder")


def see_folder(folder: Path) -> Path:
    """The nearest folder to one, or above it, that is there.

    Raises:
        InputError: if something that is no folder is in the way.
        OSError: if nothing can have such a name.
    """
    if folder.is_dir():
        return folder
    nearest = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    if not nearest.is_dir():
        raise InputError(f"{folder}: {nearest} is no folder; name another")
    return nearest


def check_parts(folder: Path, *patterns: str) -> None:
    """See whether what lies in a folder may be written to, as another user may have made it.

    Args:
        folder: that exists.
        patterns: of the parts that are meant, below it.

    Raises:
        InputError: naming the first that may not.
    """
    for part in sorted(part for pattern in patterns for part in folder.glob(pattern)):
        if not _may_write(part):
            raise InputError(f"{part} may not be written to; give this user the right, or name another storage")


def _may_write(path: Path) -> bool:
    """Whether this process may, with the capabilities that a container gave it."""
    mode = os.W_OK | os.X_OK if path.is_dir() else os.W_OK
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)
