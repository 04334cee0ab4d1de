"""The reward model."""

from typing import Literal

from pydantic import Field

from rlhf_core.config import Frozen
from rlhf_core.config.training import OptimiserConfig

Balance = Literal["none", "length", "length-drop"]


class RewardModelConfig(Frozen):
    """Reward-model training."""

    balance: Balance = "none"
    """`length` weighs the training pairs so that the longer response is chosen in half of them, however much longer it
    is; `length-drop` leaves pairs out to the same end. Held-out pairs and floors stay as they are."""
    epochs: int = Field(1, ge=1)
    batch_size: int = Field(4, ge=1)
    """Prompts in an optimiser step; all pairs of a prompt go together, it and each response are encoded once."""
    max_prompt_tokens: int = Field(48, ge=1)
    max_response_tokens: int = Field(64, ge=2)
    optimiser: OptimiserConfig = OptimiserConfig(lr=5e-4, weight_decay=0.01)
