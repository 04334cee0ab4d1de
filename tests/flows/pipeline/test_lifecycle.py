"""Ends of a run: why its versions have no alias."""

from types import SimpleNamespace
from typing import Any

import pytest

from flows.pipeline.lifecycle import _why_no_alias
from flows.pipeline.run import MEASURED, TRAINED


@pytest.mark.parametrize(
    ("changes", "stopped", "why"),
    [
        ({}, "gates stopped it at sft", "gates stopped it at sft"),
        ({"verb": MEASURED}, "gates stopped it at policy", "an evaluation sets none"),
        ({"mode": "advisory"}, "", "gates.mode is advisory, which sets none; no gate would have stopped it"),
        (
            {
                "mode": "advisory",
                "verdicts": {"agrees": "abstain", "ends": "pass", "kl-budget": "fail"},
                "earlier": "r",
            },
            "",
            "gates.mode is advisory, which sets none; enforced, it would have stopped at agrees, kl-budget",
        ),
        ({"earlier": "r"}, "", "the run that this one repeats has none"),
    ],
)
def test_it_is_said_why_no_alias_was_set(changes: dict[str, Any], stopped: str, why: str) -> None:
    told = {"verb": TRAINED, "mode": "enforce", "verdicts": {}, "earlier": None} | changes
    run: Any = SimpleNamespace(
        verb=told["verb"],
        config=SimpleNamespace(gates=SimpleNamespace(mode=told["mode"], abstain_blocks=True)),
        verdicts={"policy": [SimpleNamespace(gate=gate, status=said) for gate, said in told["verdicts"].items()]},
        earlier=told["earlier"],
        withdrawn=[],
    )
    assert _why_no_alias(run, stopped) == why
