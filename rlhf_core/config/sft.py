"""Supervised fine-tuning."""

from pydantic import Field

from rlhf_core.config import Frozen
from rlhf_core.config.adapter import AdapterConfig
from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.config.units import Demonstrations, Passes, Prompts


class SFTConfig(Frozen):
    """Supervised fine-tuning on demonstrations; only responses are learned, prompts are read."""

    epochs: Passes = Field(3, ge=1)
    """Passes over the training demonstrations."""
    batch_size: Demonstrations = Field(32, ge=1)
    """Demonstrations in an optimiser step."""
    optimiser: OptimiserConfig = OptimiserConfig(lr=1.5e-3)
    """For all weights, or for the adapter."""
    adapter: AdapterConfig | None = None
    """Train an adapter and merge it at the end. None: all weights are trained."""
    sampling: SamplingConfig = SamplingConfig()
    """Lengths of prompts and responses, and how held-out prompts are answered."""
    evaluation_prompts: Prompts = Field(400, ge=1)
    """Held-out prompts that the base and the SFT model answer for the EOS and regurgitation rates."""
