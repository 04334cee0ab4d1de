"""What data and stages must show: the gates of a configuration."""

from itertools import product
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


def _passable(gates: tuple[Gate, ...]) -> tuple[Gate, ...]:
    """Gates of one figure leave it an interval that passes all of them, if one of both judges the whole interval."""
    pairs = product(
        (gate for gate in gates if gate.direction == "above"), (gate for gate in gates if gate.direction == "below")
    )
    for above, below in pairs:
        strict = "fail" in (above.in_doubt, below.in_doubt)
        if above.metric == below.metric and above.threshold >= below.threshold and strict:
            raise ValueError(
                f"{above.metric} cannot be above {above.threshold} for gate {above.name} and below {below.threshold} "
                f"for gate {below.name}; change a threshold"
            )
    return gates


Gates = Annotated[tuple[Gate, ...], AfterValidator(_by_their_own_names), AfterValidator(_passable)]


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
