"""A cache of computed arrays in files, under names that say what they were computed from."""

import hashlib
import io
import json
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHECKSUM_BYTES = hashlib.sha256().digest_size


def content_key(*parts: Any) -> str:
    """SHA-256 of parts that JSON can hold, as hexadecimal digits: a name that changes with any of them."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def cached(path: Path | None, compute: Callable[[], NDArray[Any]]) -> NDArray[Any]:
    """Read an array, or compute and keep it; a damaged file is computed again, with a warning.

    The file is what `numpy.load` reads, followed by a checksum. It appears whole or not at all.

    Args:
        path: the file; its name must change with whatever the array depends on. None: nothing is kept.
        compute: called where the file is absent or damaged.

    Returns:
        What `compute` returned, now or earlier.
    """
    if path is None:
        return compute()
    array = _read(path)
    if array is None:
        array = compute()
        _write(path, array)
    return array


def _read(path: Path) -> NDArray[Any] | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    body, checksum = content[:-CHECKSUM_BYTES], content[-CHECKSUM_BYTES:]
    if hashlib.sha256(body).digest() != checksum:
        warnings.warn(f"{path} is damaged; what it held is computed again", stacklevel=3)
        return None
    array: NDArray[Any] = np.load(io.BytesIO(body), allow_pickle=False)
    return array


def _write(path: Path, values: NDArray[Any]) -> None:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        part = Path(scratch) / path.name
        part.write_bytes(buffer.getvalue() + hashlib.sha256(buffer.getvalue()).digest())
        part.replace(path)
