"""Optimiser and precision, which every training stage has."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rlhf_core.config import Frozen
from rlhf_core.config.units import Number, Share, Tokens


class OptimiserConfig(Frozen):
    """AdamW (Loshchilov and Hutter, 2019) with a schedule and gradient clipping."""

    lr: Number = Field(1e-3, gt=0)
    """Peak learning rate."""
    betas: tuple[Annotated[Number, Field(ge=0, lt=1)], Annotated[Number, Field(ge=0, lt=1)]] = (0.9, 0.98)
    """How much of the running means of gradients and of their squares a step keeps."""
    eps: Number = Field(1e-8, gt=0)
    """Added to the root of the mean square that a gradient is divided by."""
    weight_decay: Number = Field(0.0, ge=0)
    """Times the learning rate, the share of a weight that each step takes off it."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Shape of the learning rate after warm-up; cosine and linear end at 0."""
    warmup_share: Share = Field(0.05, ge=0, lt=1)
    """Share of the steps in which the learning rate rises from 0."""
    max_grad_norm: Number = Field(1.0, gt=0)
    """Gradients are scaled down to this norm."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type of the matrix products; weights stay float32. bfloat16 is for accelerators, slow on most processors."""
    max_tokens: Tokens = Field(1024, ge=1)
    """Tokens in one forward pass; an optimiser batch is cut into such micro-batches, its loss stays the same."""
    gradient_checkpointing: bool = False
    """Keep the input of each layer only and compute the rest again for its gradient: a third more work, and memory for
    the activations of one layer instead of all. The gradient is the same."""
    compiled: bool = False
    """Compile each layer, so that its small operations become few kernels; pays on accelerators after a minute."""

    @model_validator(mode="after")
    def _layers_run_one_way(self) -> Self:
        if self.compiled and self.gradient_checkpointing:
            raise ValueError(
                "gradient_checkpointing has layers run again as they are, so that nothing would be compiled: "
                "set it or compiled to false"
            )
        return self
