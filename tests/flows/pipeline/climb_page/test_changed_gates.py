"""A page on which all gates passed says which of the default ones were not asked."""

from flows.config.gates import GatesConfig
from flows.pipeline.climb_page.changed_gates import changed_gates


def test_the_default_gates_are_not_worth_a_word() -> None:
    assert list(changed_gates(GatesConfig().model_dump(mode="json"))) == []


def test_gates_that_are_left_out_or_loosened_are_named_with_both_thresholds() -> None:
    changes = {
        "reward_model": {"below-ceiling": None},
        "policy": {"judge-wins": {"threshold": 0.4, "reason": "a pilot"}},
    }
    gates = GatesConfig.model_validate(changes).model_dump(mode="json")
    assert list(changed_gates(gates)) == [
        "The configuration leaves out 1 default gate: below-ceiling.",
        "The configuration has another threshold for 1 default gate: judge-wins (0.4 instead of 0.5).",
    ]


def test_of_many_gates_a_few_are_named() -> None:
    (said,) = changed_gates(GatesConfig.model_validate({"reward_model": []}).model_dump(mode="json"))
    assert said.startswith("The configuration leaves out 2") and said.endswith(" more.")
