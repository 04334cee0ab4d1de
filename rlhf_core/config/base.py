"""Base models that are trained from scratch."""

from typing import Literal

from pydantic import Field

from rlhf_core.config import Frozen
from rlhf_core.config.optimiser import OptimiserConfig


class LanguageModelConfig(Frozen):
    """Shape and pretraining of a small GPT-2 class model."""

    width: int = Field(128, ge=8)
    """Hidden size."""
    layers: int = Field(3, ge=1)
    heads: int = Field(4, ge=1)
    max_positions: int = Field(128, ge=16)
    """Longest prompt with response, in tokens."""
    steps: int = Field(400, ge=1)
    batch_size: int = Field(48, ge=1)
    """Windows of text in an optimiser step."""
    window: int = Field(64, ge=8)
    """Tokens of a window."""
    optimiser: OptimiserConfig = OptimiserConfig(lr=4e-3)


class PretrainConfig(LanguageModelConfig):
    """Pretraining of the embedded world's base."""

    kind: Literal["embedded"] = "embedded"
    documents: int = Field(24_000, ge=10)
    """Documents of raw text."""
    wrong_facts: float = Field(0.04, ge=0, le=1)
    """Share of the stated facts that are another thing's."""
    ends: float = Field(0.1, ge=0, le=1)
    """Share of the documents that close with the end-of-sequence token; raw text rarely says where it ends."""


class TextBaseConfig(LanguageModelConfig):
    """Pretraining from scratch on the text of the training data."""

    kind: Literal["from_text"] = "from_text"
    vocabulary: int = Field(4000, ge=300)
    """Tokens of the byte-pair encoding, special ones included."""
