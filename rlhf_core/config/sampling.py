"""Sampling of responses: temperature, lengths, engine."""

from typing import Literal, Self

from pydantic import Field, model_validator

from rlhf_core.config import Frozen
from rlhf_core.config.lengths import Lengths
from rlhf_core.config.units import Number, Tokens

COLDEST = 0.001
"""Below this, logits divided by the temperature leave what float32 tells apart."""


class SamplingConfig(Frozen):
    """How responses are drawn."""

    temperature: Number = Field(1.0, ge=0, allow_inf_nan=False)
    """Divides the logits, in sampling and wherever the sampled tokens are scored again. 0 takes the likeliest token,
    which a policy that is trained or measured cannot: its samples need probabilities."""
    max_prompt_tokens: Tokens = Field(48, ge=1)
    """A longer prompt is cut at its start."""
    max_response_tokens: Tokens = Field(64, ge=2)
    """A response that has not ended by then counts as unfinished."""
    batch_tokens: Tokens = Field(4096, ge=1)
    """Prompt tokens sampled from at once."""
    engine: Literal["eager", "graphs", "continuous", "vllm"] = "eager"
    """What decodes. `graphs`: the same draws by recorded graphs of CUDA, which pay where calls of small kernels take
    the time. `continuous`: continuous batching of `transformers`, other draws from the same
    distribution, log-probabilities of its own forward. `vllm`: the same by vLLM, where that is installed."""

    @model_validator(mode="after")
    def _probabilities_are_numbers(self) -> Self:
        if 0 < self.temperature < COLDEST:
            raise ValueError(
                f"temperature {self.temperature} leaves one token all probability: take 0 for the likeliest one, or "
                f"{COLDEST} or more"
            )
        return self

    @property
    def lengths(self) -> Lengths:
        """Where prompts and responses are cut."""
        return Lengths(self.max_prompt_tokens, self.max_response_tokens)
