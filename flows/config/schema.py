"""The JSON schema of configuration files, by which editors complete, explain and check them."""

import functools
import re
from collections.abc import Callable
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from flows.config.ladder import METHOD_OF_SOURCE, METHOD_UNLESS_NAMED, LadderFile

Schema = dict[str, Any]

BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}

TYPES = {"boolean": "`true`, `false`", "string": "text", "null": "`null`", "object": "its fields"}

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _FileSchema(GenerateJsonSchema):
    """Without titles, which would repeat names; the tag by which a section of a union is recognised is needed."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def field_is_required(self, field: Any, total: bool) -> bool:
        match field["schema"]:
            case {"type": "default", "schema": {"type": "literal", "expected": [tag]}}:
                return bool(tag not in (METHOD_UNLESS_NAMED, METHOD_OF_SOURCE))
        return super().field_is_required(field, total)


@functools.cache
def file_schema() -> Schema:
    """What a configuration file may hold: names, types, ranges, defaults, meanings, and units as `unit`."""
    schema = {"$schema": DIALECT} | LadderFile.model_json_schema(by_alias=True, schema_generator=_FileSchema)
    for section in (schema, *schema["$defs"].values()):
        for part in (section, *section.get("properties", {}).values()):
            if "description" in part:
                part["description"] = re.sub(r"\bNone\b", "null", " ".join(part["description"].split()))
    return schema


def allowed(node: Schema, of_section: Callable[[str], str]) -> str:
    """What a setting may be, in words.

    Args:
        node: of the schema.
        of_section: says of the class of a section what is to be said.
    """
    match node:
        case {"$ref": reference}:
            return of_section(reference.rpartition("/")[2])
        case {"anyOf": options} | {"oneOf": options}:
            return " or ".join(allowed(option, of_section) for option in options)
        case {"const": value}:
            return f"`{value}`"
        case {"enum": values}:
            return ", ".join(f"`{value}`" for value in values)
        case {"type": "array", "prefixItems": items}:
            return f"list of {len(items)}: {allowed(items[0], of_section)} each"
        case {"type": "array", "items": item}:
            return f"list of {allowed(item, of_section)}" + ("; not empty" if node.get("minItems") else "")
        case {"type": "object", "additionalProperties": dict(item)}:
            keys = allowed(node["propertyNames"], of_section) if "propertyNames" in node else "name"
            return f"by {keys}: {allowed(item, of_section)}"
        case {"pattern": pattern}:
            return f"text like `{pattern}`"
        case {"format": form}:
            return str(form)
    kind = TYPES.get(node["type"], node["type"])
    limits = ", ".join(f"{sign} {node[name]}" for name, sign in BOUNDS.items() if name in node)
    return f"{kind} {limits}".strip() + ("; not empty" if node.get("minLength") else "")
