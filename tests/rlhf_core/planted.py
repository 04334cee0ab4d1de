"""A payload that tests plant, which leaves a file where it runs."""

import pickle
from collections.abc import Callable
from pathlib import Path


class Payload:
    """A pickle that writes a file when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., int], tuple[Path, str]]:
        return Path.write_text, (self.marker, "it ran")


def payload(marker: Path) -> bytes:
    """The same as bytes."""
    return pickle.dumps(Payload(marker))
