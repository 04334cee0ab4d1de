"""What a configuration makes of the default gates, for whoever reads that all gates passed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from flows.config.gates import GatesConfig

NAMED = 6
"""Gates at most that a sentence names."""


def changed_gates(gates: Mapping[str, Any]) -> Iterator[str]:
    """A sentence on the default gates that are left out, and one on those with another threshold.

    Args:
        gates: of a configuration, whole: gates by stage.
    """
    left_out, moved = list[str](), list[str]()
    for stage, defaults in GatesConfig():
        if not isinstance(defaults, tuple):
            continue
        found = {gate["name"]: gate for gate in gates.get(stage, ())}
        for gate in defaults if stage in gates else ():
            if gate.name not in found:
                left_out.append(gate.name)
            elif (threshold := found[gate.name].get("threshold")) != gate.threshold:
                moved.append(f"{gate.name} ({threshold:g} instead of {gate.threshold:g})")
    if left_out:
        yield f"The configuration leaves out {_named(left_out)}."
    if moved:
        yield f"The configuration has another threshold for {_named(moved)}."


def _named(names: Sequence[str]) -> str:
    kind = "default gate" if len(names) == 1 else "default gates"
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{len(names)} {kind}: {', '.join(names[:NAMED])}{more}"
