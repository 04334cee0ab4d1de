"""Direct preference optimisation."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.policy import PolicyConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.config.units import Passes, Probability, Prompts, unit


class DPOConfig(PolicyConfig):
    """Direct preference optimisation (Rafailov et al., 2023); the reward model only measures."""

    method: Literal["dpo"] = "dpo"
    """The policy is trained by DPO or IPO."""
    loss: Literal["sigmoid", "ipo"] = "sigmoid"
    """`sigmoid` is DPO; `ipo` is IPO (Azar et al., 2023) on log-probabilities averaged over tokens, so its beta
    has another scale."""
    beta: Annotated[float, unit("logits per nat")] = Field(0.1, gt=0)
    """Price of one nat of drift from the SFT model: what a log-ratio is multiplied by in the logit of a preference."""
    label_smoothing: Probability = Field(0.0, ge=0, lt=0.5)
    """Probability that a preference is recorded the wrong way round; for `sigmoid` only."""
    epochs: Passes = Field(1, ge=1)
    """Passes over the training pairs."""
    batch_size: Prompts = Field(4, ge=1)
    """Prompts in an optimiser step; all pairs of a prompt go together, it and each response are encoded once."""
    optimiser: OptimiserConfig = OptimiserConfig(lr=1e-4)
    """For the policy."""
    sampling: SamplingConfig = SamplingConfig()
    """Lengths of prompts and responses; the temperature at which held-out prompts are answered and pairs are scored."""

    @model_validator(mode="after")
    def _check_smoothing(self) -> Self:
        if self.loss == "ipo" and self.label_smoothing:
            raise ValueError("label_smoothing is for loss sigmoid: set it to 0 for ipo")
        return self
