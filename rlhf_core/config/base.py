"""Base models that are trained from scratch."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rlhf_core.config import Frozen
from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.units import Documents, Layers, Share, Size, Steps, Tokens, Windows, unit


class LanguageModelConfig(Frozen):
    """Shape and pretraining of a small GPT-2 class model."""

    width: Size = Field(128, ge=8, le=16_384)
    """Hidden size, a multiple of `heads`."""
    layers: Layers = Field(3, ge=1, le=256)
    """Transformer blocks."""
    heads: Annotated[int, unit("attention heads")] = Field(4, ge=1)
    """Attention heads of each layer."""
    max_positions: Tokens = Field(128, ge=16, le=131_072)
    """Longest prompt with response, in tokens."""
    steps: Steps = Field(400, ge=1)
    """Optimiser steps of pretraining."""
    batch_size: Windows = Field(48, ge=1)
    """Windows of text in an optimiser step."""
    window: Tokens = Field(64, ge=8)
    """Tokens of a window."""
    optimiser: OptimiserConfig = OptimiserConfig(lr=4e-3)
    """For all weights."""

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}, which share it: change one")
        if self.window > self.max_positions:
            raise ValueError(
                f"window {self.window} is longer than max_positions {self.max_positions}, all that the model reads: "
                "lower it"
            )
        return self


class PretrainConfig(LanguageModelConfig):
    """Pretraining of the embedded world's base."""

    kind: Literal["embedded"] = "embedded"
    """A base that is pretrained on raw text of the embedded world."""
    documents: Documents = Field(24_000, ge=10)
    """Documents of raw text."""
    wrong_facts: Share = Field(0.04, ge=0, le=1)
    """Share of the stated facts that are another thing's."""
    ends: Share = Field(0.1, ge=0, le=1)
    """Share of the documents that close with the end-of-sequence token; raw text rarely says where it ends."""


class TextBaseConfig(LanguageModelConfig):
    """Pretraining from scratch on the text of the training data."""

    kind: Literal["from_text"] = "from_text"
    """A base that is pretrained on the text of the training split."""
    vocabulary: Tokens = Field(4000, ge=300, le=1_000_000)
    """Tokens of the byte-pair encoding, special ones included."""
