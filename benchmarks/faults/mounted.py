"""A disk that the bench mounts, fills and makes read-only."""

import os
import subprocess
from pathlib import Path
from typing import Self


class Mount:
    """A file system of its own under a folder, as a context.

    Args:
        folder: made if it is not there.
        megabytes: that it holds.
    """

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder = folder
        self._megabytes = megabytes
        self._ballast = folder / "ballast"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={self._megabytes}m", "none", self.folder],
            check=True,
            capture_output=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "-l", self.folder], check=False)

    def leave(self, kilobytes: int) -> None:
        """Fill it up to some room."""
        self._ballast.unlink(missing_ok=True)
        room = os.statvfs(self.folder)
        with self._ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(room.f_bavail * room.f_frsize - kilobytes * 1024, 1))

    def empty(self) -> None:
        """Take the filling away."""
        self._ballast.unlink(missing_ok=True)

    def remount(self, how: str) -> None:
        """Make it read-only (`ro`) or not (`rw`)."""
        subprocess.run(["mount", "-o", f"remount,{how}", self.folder], check=True, capture_output=True)
