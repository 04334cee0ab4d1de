"""Direct preference optimisation."""

from typing import Literal, Self

from pydantic import Field, model_validator

from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.policy import PolicyConfig
from rlhf_core.config.sampling import SamplingConfig


class DPOConfig(PolicyConfig):
    """Direct preference optimisation."""

    method: Literal["dpo"] = "dpo"
    loss: Literal["sigmoid", "ipo"] = "sigmoid"
    """`sigmoid` is DPO; `ipo` is IPO on log-probabilities averaged over tokens, so its beta has another scale."""
    beta: float = Field(0.1, gt=0)
    """Price of one nat of drift from the SFT model."""
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    """Probability that a preference is recorded the wrong way round; for `sigmoid` only."""
    epochs: int = Field(1, ge=1)
    batch_size: int = Field(4, ge=1)
    """Prompts in an optimiser step; all pairs of a prompt go together, it and each response are encoded once."""
    optimiser: OptimiserConfig = OptimiserConfig(lr=1e-4)
    sampling: SamplingConfig = SamplingConfig()
    """Lengths of prompts and responses; the temperature at which held-out prompts are answered and pairs are scored."""

    @model_validator(mode="after")
    def _check_smoothing(self) -> Self:
        if self.loss == "ipo" and self.label_smoothing:
            raise ValueError("label_smoothing is for loss sigmoid: set it to 0 for ipo")
        return self
