"""LoRA: training of low-rank adapters in place of all weights."""

from typing import Annotated

from pydantic import Field

from rlhf_core.config import Frozen
from rlhf_core.config.units import Number, Share, Size


class AdapterConfig(Frozen):
    """A LoRA adapter (Hu et al., 2021): a layer W learns W + `alpha` / `rank` * B A, and W stays as it is."""

    rank: Size = Field(16, ge=1)
    """Rows of A and columns of B: what is learned about a layer of n to m is `rank` * (n + m) numbers."""
    alpha: Number = Field(32.0, gt=0, allow_inf_nan=False)
    """Over `rank`, what the product of B and A is multiplied by."""
    dropout: Share = Field(0.0, ge=0, lt=1)
    """Share of the inputs of A that are left out in a training step. PPO allows none."""
    target_modules: tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(None, min_length=1)
    """The layers, by the last parts of their names, such as `q_proj`. None: all linear ones of the trunk; the head over
    the vocabulary is none of them."""
