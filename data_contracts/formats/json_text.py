"""JSON text in which no object has a key twice; Python's own reader lets the last one win without a word."""

import json
from typing import Any

LONGEST_KEY = 40
"""Characters of a key that an error shows."""


class RepeatedKey(ValueError):
    """An object with the same key twice, of which nobody can say which is meant."""

    def __init__(self, key: str) -> None:
        super().__init__(f"has '{key[:LONGEST_KEY]}' twice in one object")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        keys = [key for key, _ in pairs]
        raise RepeatedKey(next(key for key in keys if keys.count(key) > 1))
    return members


DECODER = json.JSONDecoder(object_pairs_hook=_members)
"""Raises what `json.loads` does, and `RepeatedKey`."""
