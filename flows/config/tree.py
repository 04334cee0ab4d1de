"""The tree of configuration classes: their fields by the names that files give them, and the sections in them."""

from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

Section = type[BaseModel]


def fields_of(section: Section) -> dict[str, FieldInfo]:
    """Fields by the names that files give them."""
    return {field.alias or name: field for name, field in section.model_fields.items()}


def sections_in(annotation: Any) -> list[Section]:
    """Configuration classes that an annotation mentions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for argument in get_args(annotation) for section in sections_in(argument)]
