"""What is on the disk, and outlives a machine that loses its power."""

import os
from pathlib import Path


def flush(path: Path) -> None:
    """See a file, or the names in a folder, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
