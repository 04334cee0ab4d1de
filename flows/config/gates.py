"""What data and stages must show: the gates of a configuration."""

from collections.abc import Mapping
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ValidationError

from rlhf_core.config import Frozen
from rlhf_core.gates.data import DEFAULT_DATA_GATES
from rlhf_core.gates.defaults import (
    DEFAULT_POLICY_GATES,
    DEFAULT_REWARD_MODEL_GATES,
    DEFAULT_SFT_GATES,
)
from rlhf_core.gates.figures import unknown_figure
from rlhf_core.gates.gate import Gate


def _by_their_own_names(gates: tuple[Gate, ...]) -> tuple[Gate, ...]:
    names = [gate.name for gate in gates]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two gates are called {twice[0]}, whose verdicts would replace each other; rename one")
    return gates


def _changes_to(defaults: tuple[Gate, ...]) -> BeforeValidator:
    """Reads a mapping as the default gates with some of them changed, left out or added, by name."""

    def changed(said: Any) -> Any:
        if not isinstance(said, Mapping):
            return said
        gates: dict[str, Any] = {gate.name: gate for gate in defaults}
        for name, change in said.items():
            if change is not None:
                gates[name] = _change(str(name), gates.get(name), change)
            elif gates.pop(name, None) is None:
                raise ValueError(
                    f"no default gate is called {name}, so it cannot be left out; there are {_listed(gates)}"
                )
        return tuple(gates.values())

    return BeforeValidator(changed, json_schema_input_type=tuple[Gate, ...] | dict[str, dict[str, Any] | None])


def _change(name: str, default: Gate | None, change: Any) -> Gate:
    """A default gate with some fields changed, or a new gate."""
    if not isinstance(change, Mapping):
        raise ValueError(f"{name}: name the fields to change, such as `threshold: 0.5`, or write null to leave it out")
    if default and "reason" not in change:
        raise ValueError(
            f"{name}: the default gate says why its threshold is what it is; say in `reason` why it changes"
        )
    try:
        return Gate.model_validate({"name": name, **(default.model_dump() if default else {}), **change})
    except ValidationError as error:
        wrong = error.errors()[0]
        raise ValueError(f"{name}: {'.'.join(map(str, wrong['loc']))}: {wrong['msg']}") from None


def _listed(gates: Mapping[str, Gate]) -> str:
    return ", ".join(sorted(gates))


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


def _measured(stage: str) -> AfterValidator:
    def known(gates: tuple[Gate, ...]) -> tuple[Gate, ...]:
        for gate in gates:
            if problem := unknown_figure(stage, gate.metric):
                raise ValueError(f"{gate.name}: {problem}")
        return gates

    return AfterValidator(known)


Gates = Annotated[tuple[Gate, ...], AfterValidator(_by_their_own_names), AfterValidator(_passable)]


class GatesConfig(Frozen):
    """What data and stages must show before the next stage starts.

    A mapping changes default gates of a stage by name, with the `reason`; null leaves one out; other names are new
    gates. A list replaces all of them.
    """

    mode: Literal["enforce", "advisory"] = "enforce"
    """`enforce` stops the ladder at a failed gate; `advisory` records the verdicts and sets no alias."""
    abstain_blocks: bool = True
    """Whether too few samples block like a failure."""
    data: Annotated[Gates, _measured("data"), _changes_to(DEFAULT_DATA_GATES)] = DEFAULT_DATA_GATES
    """What the prompts of a policy must show, judged before anything is trained."""
    sft: Annotated[Gates, _measured("sft"), _changes_to(DEFAULT_SFT_GATES)] = DEFAULT_SFT_GATES
    """What the SFT model must show before a reward model is trained."""
    reward_model: Annotated[Gates, _measured("reward_model"), _changes_to(DEFAULT_REWARD_MODEL_GATES)] = (
        DEFAULT_REWARD_MODEL_GATES
    )
    """What the reward model must show before a policy is trained."""
    policy: Annotated[Gates, _measured("policy"), _changes_to(DEFAULT_POLICY_GATES)] = DEFAULT_POLICY_GATES
    """What the policy must show before it gets the alias `challenger`."""
