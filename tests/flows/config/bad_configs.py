"""Bad configurations, drawn from the schema of the real ones, so that new settings take part by themselves."""

import copy
import datetime
import math
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import yaml

from flows.config.schema import Schema, file_schema
from flows.config.shown import Place

ODD = (
    *(None, True, False, 0, -1, 3, 2**63, -(2**64), 10**30, 10**400, 0.5, -0.0, 1e308, 5e-324, math.nan, math.inf),
    *("", " ", "\0", "\x1b[31m", "two\nlines", "\u2028", "yes", "1", "1e400", "nan", "x" * 5000, "é" * 300, "../../x"),
    *([], {}, [[]], [None], [{}], {"a": {"b": [1]}}, {"": 1}, {1: 2}, {None: 1}, {True: 1}, [[[[[[]]]]]]),
    *(datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29, 12), b"bytes", {"a", "b"}),
)
"""Values of other kinds than the one that is meant, as YAML makes them of what people write."""

KEYS = (1, -1, None, True, 0.5, math.nan, datetime.date(2024, 2, 29), "", "\0", "two\nlines", "x" * 5000, "<<", "=")

BROKEN = (
    *("[", "{", "]", "'", '"', "\t", ": :", "- -", "? ", "&a", "*a", "%", "@", "`", "!", "|", "---\n", "...\n", "\0"),
    *("!!python/object:os.system {}", "!!python/name:os.system", "!!set {a}", "!!int x", "!!bool x", "!!float x"),
    *(
        "!!timestamp x",
        "!!binary x",
        "!!omap [a: 1]",
        "!own x",
        "&a [*a]",
        "&a {<<: *a}",
        "*nobody",
        "<<: 5",
        "=",
        "0x_",
    ),
    *("2024-13-45", "2001-12-14 21:59:43 +99:99", "1" * 5000, "[" * 10_000, "{a: " * 5000, "- " * 5000, "? " * 5000),
)
"""Pieces of YAML that are none, or more than plain values."""

NO_TEXT = (b"\xff\xfe", b"\x80", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\x00", b"\r", b"\x1b[2J", "\u2028".encode())

EXAMPLES = {
    r"^[a-z0-9][a-z0-9-]{0,99}$": "drawn",
    r"^[\w.-]+:\d+$": "node-0:29500",
    r"^[\w.-]+(/[\w.-]+)?$": "owner/name",
    r"^[0-9a-f]{40}$": "0" * 40,
    r"^[0-9a-f]{64}$": "0" * 64,
    r"^[^/]+\.gguf$": "model.gguf",
}
"""Texts that patterns of the schema take, of those that do not take `here`."""


class BadConfig(NamedTuple):
    """What a file holds, and what was done to a configuration that was better."""

    content: bytes
    faults: list[str]


def whole(node: Schema, rng: random.Random) -> Any:
    """A value that a node of the schema takes, with all settings; of several kinds one is drawn."""
    if "$ref" in node:
        return whole(file_schema()["$defs"][node["$ref"].rpartition("/")[2]], rng)
    if isinstance(node.get("default"), str | int | float):
        return node["default"]
    match node:
        case {"oneOf": options} | {"anyOf": options} | {"enum": options}:
            choice = rng.choice(options)
            return whole(choice, rng) if isinstance(choice, dict) else choice
        case {"const": value}:
            return value
        case {"properties": fields}:
            return {name: whole(field, rng) for name, field in fields.items()}
        case {"type": "array", "items": {"format": "path"}}:
            return []
        case {"type": "array"}:
            items = node.get("prefixItems") or [node["items"]] * rng.choice((1, 1, 2))
            return [whole(item, rng) for item in items]
        case {"type": "integer" | "number"}:
            return node.get("minimum", node.get("exclusiveMinimum", 0) + 1)
    return {"object": {}, "null": None}.get(node["type"], EXAMPLES.get(node.get("pattern", ""), "here"))


def places(value: Any, above: Place = ()) -> Iterator[Place]:
    """Every place in a document, below its root."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in inside:
        yield (*above, name)
        yield from places(item, (*above, name))


def other_value(holder: Any, name: Any, rng: random.Random) -> None:
    holder[name] = copy.deepcopy(rng.choice(ODD))


def extreme(holder: Any, name: Any, rng: random.Random) -> None:
    value = holder[name] if isinstance(holder[name], int | float) else 1
    holder[name] = rng.choice((-value, value * 10**9, value + 1e300, value * 1e-300, value - 10**12, 2**31, 0, 1, 1.0))


def misspell(holder: Any, name: Any, rng: random.Random) -> None:
    text = str(name)
    cut = rng.randrange(len(text) or 1)
    typo = rng.choice(
        (text[:cut] + text[cut + 1 :], text[:cut] + "e" + text[cut:], text.upper(), text.replace("_", "-"))
    )
    rename(holder, name, typo)


def strange_key(holder: Any, name: Any, rng: random.Random) -> None:
    rename(holder, name, rng.choice(KEYS))


def rename(holder: Any, name: Any, new: Any) -> None:
    if isinstance(holder, dict):
        holder[new] = holder.pop(name)
    else:
        holder[name] = {new: holder[name]}


def remove(holder: Any, name: Any, _: random.Random) -> None:
    del holder[name]


def wrap(holder: Any, name: Any, rng: random.Random) -> None:
    value = holder[name]
    nested: Any = value
    for _ in range(60):
        nested = [nested]
    listed = (
        list(value.items()) if isinstance(value, dict) else dict(enumerate(value)) if isinstance(value, list) else []
    )
    holder[name] = rng.choice(([value], {name: value}, {"value": value}, str(value), [value, value], listed, nested))


def other_kind(holder: Any, name: Any, rng: random.Random) -> None:
    """Another section of a union, or what belongs elsewhere."""
    value = holder[name]
    if isinstance(value, dict):
        tag = next((tag for tag in ("kind", "method", "by") if tag in value), "kind")
        value[tag] = rng.choice(
            ("files", "hub", "embedded", "ppo", "dpo", "imported", "judge", "shared", "none", "folder")
        )
    else:
        holder[name] = whole(rng.choice(list(file_schema()["$defs"].values())), rng)


FAULTS: tuple[Callable[[Any, Any, random.Random], None], ...] = (
    *(other_value, other_value, other_value, extreme, extreme),
    *(misspell, strange_key, remove, wrap, other_kind),
)


def draw(seed: int, shipped: list[Any]) -> BadConfig:
    """A configuration with a fault or two; the same for the same seed.

    Args:
        seed: of every choice.
        shipped: configurations as documents, of which it may be one that was changed.
    """
    rng = random.Random(seed)
    document = copy.deepcopy(rng.choice(shipped)) if rng.random() < 0.5 else _some_sections(rng)
    faults = []
    for _ in range(rng.choice((1, 1, 2))):
        place = rng.choice([place for place in places(document)] or [()])
        fault = rng.choice(FAULTS)
        holder = document
        for name in place[:-1]:
            holder = holder[name]
        if place:
            fault(holder, place[-1], rng)
            faults.append(f"{fault.__name__} at {'.'.join(map(str, place))}"[:200])
    text = yaml.dump(document, Dumper=_Dumper, allow_unicode=True, sort_keys=False)
    if rng.random() < 0.25:
        return BadConfig(*_broken(text, faults, rng))
    return BadConfig(text.encode("utf-8", "surrogatepass"), faults)


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _some_sections(rng: random.Random) -> dict[str, Any]:
    fields = file_schema()["properties"]
    return {name: whole(fields[name], rng) for name in ("project", "data", *rng.sample(sorted(fields), 4))}


def _broken(text: str, faults: list[str], rng: random.Random) -> tuple[bytes, list[str]]:
    """The text of a configuration, no longer YAML or not in UTF-8."""
    lines = text.splitlines(keepends=True) or [""]
    number = rng.randrange(len(lines))
    piece: str | bytes = rng.choice((*BROKEN, *NO_TEXT))
    match rng.randrange(6):
        case 0:
            return text[: rng.randrange(len(text) + 1)].encode(), [*faults, "cut off"]
        case 1:
            return "".join([*lines[: number + 1], *lines[number:]]).encode(), [*faults, f"line {number + 1} twice"]
        case 2:
            return "".join(line[rng.randrange(2) :] for line in lines).encode(), [*faults, "indented at random"]
        case 3:
            return text.encode("utf-16"), [*faults, "in UTF-16"]
    start = rng.randrange(len(lines[number]) + 1)
    name, colon, _ = lines[number].partition(": ")
    before = name + colon if colon and rng.random() < 0.7 else lines[number][:start]
    parts = [*lines[:number], before, piece, "\n", *lines[number + 1 :]]
    content = b"".join(part if isinstance(part, bytes) else part.encode() for part in parts)
    return content, [*faults, f"{str(piece)[:40]!r} in line {number + 1}"]
