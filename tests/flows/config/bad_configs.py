"""Bad configurations, drawn from the schema of the real ones, so that new settings take part by themselves."""

import copy
import datetime
import math
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import yaml

from flows.config.schema import file_schema

Place = tuple[str | int, ...]

ODD = (
    *(None, True, False, 0, -1, 3, 2**63, -(2**64), 10**30, 10**400, 0.5, -0.0, 1e308, 5e-324, math.nan, math.inf),
    *("", " ", "\0", "\x1b[31m", "two\nlines", "\u2028", "yes", "1", "1e400", "nan", "x" * 5000, "é" * 300, "../../x"),
    *([], {}, [[]], [None], [{}], {"a": {"b": [1]}}, {"": 1}, {1: 2}, {None: 1}, {True: 1}, [[[[[[]]]]]]),
    *(datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29, 12), b"bytes", {"a", "b"}),
)
"""Values of other kinds than the one that is meant, as YAML makes them of what people write."""

EXAMPLES = {
    r"^[a-z0-9][a-z0-9-]*$": "fuzzed",
    r"^[\w.-]+:\d+$": "node-0:29500",
    r"^[\w.-]+(/[\w.-]+)?$": "owner/name",
    r"^[0-9a-f]{40}$": "0" * 40,
    r"^[0-9a-f]{64}$": "0" * 64,
    r"^[\w./-]+$": "main",
    r"^[^/]+\.gguf$": "model.gguf",
    r"^(\w+(\.\w+)*:\w+(\.\w+)*|[\w.-]+)$": "package.module:function",
}
"""Texts that the patterns of the schema take."""


class BadConfig(NamedTuple):
    """A configuration as a file holds it.

    Attributes:
        content: of the file.
        faults: what was done to it, and where.
    """

    content: bytes
    faults: list[str]


def whole(node: dict[str, Any], schema: dict[str, Any], rng: random.Random) -> Any:
    """A value that a node of a schema takes, with all its settings; of several kinds one is drawn."""
    if "$ref" in node:
        return whole(schema["$defs"][node["$ref"].rpartition("/")[2]], schema, rng)
    if node.get("default") is not None and not isinstance(node["default"], dict | list):
        return node["default"]
    for union in ("oneOf", "anyOf"):
        if union in node:
            return whole(rng.choice(node[union]), schema, rng)
    if "const" in node or "enum" in node:
        return node["const"] if "const" in node else rng.choice(node["enum"])
    match node.get("type"):
        case "object":
            named = {name: whole(part, schema, rng) for name, part in node.get("properties", {}).items()}
            return named
        case "array":
            items = node.get("prefixItems") or [node["items"]] * rng.choice((1, 1, 2))
            return [whole(item, schema, rng) for item in items]
        case "string":
            return EXAMPLES.get(node.get("pattern", ""), "./here")
        case "boolean":
            return rng.random() < 0.5
        case "integer" | "number":
            return node.get("minimum", node.get("exclusiveMinimum", 0) + 1)
    return None


def places(value: Any, above: Place = ()) -> Iterator[Place]:
    """Every place in a document."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield (*above, key)
        yield from places(item, (*above, key))


def at(document: Any, place: Place) -> Any:
    for key in place:
        document = document[key]
    return document
