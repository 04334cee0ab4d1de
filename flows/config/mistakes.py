"""What is wrong with a configuration, in a line for each mistake: the field as the file has it, its value, the mend."""

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic_core import ErrorDetails

from flows.config.schema import Schema, allowed, file_schema
from flows.config.shown import LONGEST, Place, dotted, line, said

SECTION = "must be a section, which is a mapping of fields to values"

DATE = "must be a date such as 2026-01-31"

WORDS = {
    "date_from_datetime_inexact": DATE,
    "date_from_datetime_parsing": DATE,
    "date_parsing": DATE,
    "date_type": DATE,
    "dict_type": "must be a mapping of names to values",
    "int_parsing_size": "must have fewer digits",
    "model_attributes_type": SECTION,
    "model_type": SECTION,
    "path_type": "must be text, the path of a file or folder",
    "string_type": "must be text, which quotation marks make of anything",
    "tuple_type": "must be a list",
}
"""By pydantic's type of an error, what is said instead of its words where those are of Python."""


def explain(error: ErrorDetails) -> str:
    """One sentence on a mistake: the field as it is written in the file, what is wrong, how to mend it."""
    loc, found = error["loc"], error["input"]
    match error["type"]:
        case "extra_forbidden":
            return _unknown(loc)
        case "union_tag_invalid" | "union_tag_not_found":
            return _untold(error)
        case "invalid_key":
            written = (*_located(loc[:-1])[1], loc[-1])
            return f"field '{dotted(written)}': key {said(loc[-1])} is no text; name a field"
    parts, written = _located(loc)
    field, takes = dotted(written), "it takes " + _said_of(parts)
    if error["type"] == "missing":
        return f"field '{field}' is missing; add it: {takes}"
    message = WORDS.get(error["type"]) or line(str(error["msg"]).removeprefix("Value error, "))
    for start in ("Input should", "String should", "Tuple should"):
        message = message.replace(start, "must")
    if error["type"] == "value_error":
        value = f" (now {said(found)})" if isinstance(found, str | int | float) else ""
        return f"field '{field}': {message}{value}" if field else re.sub(r"^[a-z_.]+", r"field '\g<0>'", message)
    mend = _nearest(found, [choice for part in parts for choice in part.get("enum", ())]) or takes
    if found is None:
        mend = _instead_of_null(parts, is_needed=_is_needed(loc)) or mend
    return f"field '{field}': {message} (now {said(found)}); {mend}"


def _instead_of_null(parts: list[Schema], *, is_needed: bool) -> str | None:
    """What to write where a list or a section is null, as one is below whose name nothing is written."""
    leave_out = "" if is_needed else "leave it out, and its default holds; or "
    fields = sorted({name for part in parts for name in part.get("properties", {})})
    if any(part.get("type") == "array" for part in parts):
        by_name = any(isinstance(part.get("additionalProperties"), dict) for part in parts)
        return f"{leave_out}write [] for none at all{', or {NAME: null} to leave out one of them' if by_name else ''}"
    return f"{leave_out}write fields of it: {', '.join(fields)}" if fields else None


def _is_needed(loc: Place) -> bool:
    return any(loc[-1] in part.get("required", ()) for part in _located(loc[:-1])[0])


def _unknown(loc: Place) -> str:
    parts, written = _located(loc[:-1])
    fields = sorted({name for part in parts for name in part.get("properties", {})})
    mend = _nearest(loc[-1], fields) or f"remove it; known fields here: {', '.join(fields)}"
    return f"field '{dotted((*written, loc[-1]))}' is unknown; {mend}"


def _untold(error: ErrorDetails) -> str:
    """A section does not say which of several kinds it is, or says one that there is not."""
    name = str(error["ctx"]["discriminator"]).strip("'")
    parts, written = _located(error["loc"])
    field = dotted((*written, name))
    kinds = [str(part["properties"][name]["const"]) for part in parts if name in part.get("properties", {})]
    choice = ", ".join(kinds)
    if error["type"] == "union_tag_not_found" or not isinstance(error["input"], dict):
        return f"field '{field}' is missing; add it: one of {choice}"
    told = error["input"].get(name)
    return f"field '{field}': must be one of {choice} (now {said(told)}); {_nearest(told, kinds) or 'take one of them'}"


def _nearest(name: object, names: Iterable[str]) -> str | None:
    close = difflib.get_close_matches(str(name)[:LONGEST], list(names), n=1)
    return f"did you mean '{close[0]}'?" if close else None


def _located(loc: Place) -> tuple[list[Schema], Place]:
    """What the schema says at pydantic's location, and the location as written, without the tags of unions."""
    parts = _options(file_schema())
    written: Place = ()
    for step in loc:
        inner = [option for part in parts for node in _inside(part, step) for option in _options(node)]
        if inner:
            parts, written = inner, (*written, step)
        elif step != "[key]":  # of a mapping, whose key is the step before
            parts = [part for part in parts if step in _tags(part)] or parts
    return parts, written


def _options(node: Schema) -> list[Schema]:
    """The kinds that a value may be of, each as the schema describes it."""
    if reference := node.get("$ref"):
        return [file_schema()["$defs"][reference.rpartition("/")[2]]]
    options = node.get("oneOf") or node.get("anyOf")
    return [kind for option in options for kind in _options(option)] if options else [node]


def _inside(part: Schema, step: int | str) -> Iterator[Schema]:
    if isinstance(step, int) and part.get("type") == "array":
        yield part["prefixItems"][step] if "prefixItems" in part else part["items"]
    elif step in part.get("properties", {}):
        yield part["properties"][step]
    elif isinstance(part.get("additionalProperties"), dict) and step != "[key]":
        yield part["additionalProperties"]


def _tags(part: Schema) -> list[Any]:
    """By what a member of a union is told from the others."""
    return [field["const"] for field in part.get("properties", {}).values() if "const" in field]


def _said_of(parts: list[Schema]) -> str:
    kinds = ("a section" if "properties" in part else allowed(part, lambda _: "sections") for part in parts)
    return " or ".join(dict.fromkeys(kinds))
