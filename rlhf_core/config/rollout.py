"""Sampling."""

from pydantic import Field

from rlhf_core.config import Frozen


class SamplingConfig(Frozen):
    """How responses are drawn."""

    temperature: float = Field(1.0, gt=0)
    """Divides the logits, in sampling and wherever the sampled tokens are scored again."""
    max_prompt_tokens: int = Field(48, ge=1)
    max_response_tokens: int = Field(64, ge=2)
    """A response that has not ended by then counts as unfinished."""
    batch_tokens: int = Field(4096, ge=1)
    """Prompt tokens sampled from at once."""
