"""What data and stages must show: the gates of a configuration."""

from typing import Literal

from rlhf_core.config import Frozen
from rlhf_core.gates.defaults import (
    DEFAULT_DATA_GATES,
    DEFAULT_POLICY_GATES,
    DEFAULT_REWARD_MODEL_GATES,
    DEFAULT_SFT_GATES,
)
from rlhf_core.gates.gate import Gate


class GatesConfig(Frozen):
    """What data and stages must show before the next stage starts.

    Attributes:
        mode: `enforce` stops the ladder at a failed gate; `advisory` records the verdicts and sets no alias.
        abstain_blocks: whether too few samples block like a failure.
        data: what the prompts of a policy must show, judged before anything is trained.
    """

    mode: Literal["enforce", "advisory"] = "enforce"
    abstain_blocks: bool = True
    data: tuple[Gate, ...] = DEFAULT_DATA_GATES
    sft: tuple[Gate, ...] = DEFAULT_SFT_GATES
    reward_model: tuple[Gate, ...] = DEFAULT_REWARD_MODEL_GATES
    policy: tuple[Gate, ...] = DEFAULT_POLICY_GATES
