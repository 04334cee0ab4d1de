"""The JSON schema of configuration files, by which editors complete, explain and check them."""

import re
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from flows.config.ladder import METHOD_OF_SOURCE, METHOD_UNLESS_NAMED, LadderFile

Schema = dict[str, Any]

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


def file_schema() -> Schema:
    """What a configuration file may hold: names, types, ranges, defaults, meanings, and units as `unit`."""
    schema = {"$schema": DIALECT} | LadderFile.model_json_schema(by_alias=True, schema_generator=_FileSchema)
    for section in (schema, *schema["$defs"].values()):
        for part in (section, *section.get("properties", {}).values()):
            if "description" in part:
                part["description"] = re.sub(r"\bNone\b", "null", " ".join(part["description"].split()))
    return schema
