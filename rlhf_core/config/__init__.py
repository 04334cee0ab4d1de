"""Configuration, a module for each stage. Free of torch and transformers: a bad value is found at once."""

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Immutable configuration that rejects unknown fields, so that a typing error never passes silently."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
