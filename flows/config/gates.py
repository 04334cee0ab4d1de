"""What data and stages must show: the gates of a configuration."""

from typing import Annotated, Literal

from pydantic import AfterValidator

from rlhf_core.config import Frozen
from rlhf_core.gates.defaults import (
    DEFAULT_DATA_GATES,
    DEFAULT_POLICY_GATES,
    DEFAULT_REWARD_MODEL_GATES,
    DEFAULT_SFT_GATES,
)
from rlhf_core.gates.gate import Gate


def _by_their_own_names(gates: tuple[Gate, ...]) -> tuple[Gate, ...]:
    names = [gate.name for gate in gates]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two gates are called {twice[0]}, whose verdicts would replace each other; rename one")
    return gates


Gates = Annotated[tuple[Gate, ...], AfterValidator(_by_their_own_names)]


class GatesConfig(Frozen):
    """What data and stages must show before the next stage starts; a list replaces the default gates of its stage."""

    mode: Literal["enforce", "advisory"] = "enforce"
    """`enforce` stops the ladder at a failed gate; `advisory` records the verdicts and sets no alias."""
    abstain_blocks: bool = True
    """Whether too few samples block like a failure."""
    data: Gates = DEFAULT_DATA_GATES
    """What the prompts of a policy must show, judged before anything is trained."""
    sft: Gates = DEFAULT_SFT_GATES
    """What the SFT model must show before a reward model is trained."""
    reward_model: Gates = DEFAULT_REWARD_MODEL_GATES
    """What the reward model must show before a policy is trained."""
    policy: Gates = DEFAULT_POLICY_GATES
    """What the policy must show before it gets the alias `challenger`."""
