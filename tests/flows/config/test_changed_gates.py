"""Gates of a stage that a configuration changes by name."""

import json
from pathlib import Path

import pytest

from flows.config.errors import InputError
from flows.config.gates import GatesConfig
from flows.config.loading import load_config
from rlhf_core.gates.defaults import DEFAULT_REWARD_MODEL_GATES
from rlhf_core.gates.gate import Gate

DEFAULTS = {gate.name: gate for gate in DEFAULT_REWARD_MODEL_GATES}


def read(tmp_path: Path, changes: object, *overrides: str) -> dict[str, Gate]:
    path = tmp_path / "changed.yaml"
    path.write_text(f"project: changed\ngates: {{reward_model: {json.dumps(changes)}}}")
    return {gate.name: gate for gate in load_config(path, overrides=overrides).gates.reward_model}


def test_a_change_by_name_keeps_the_rest_of_the_gate_and_all_others_in_their_order(tmp_path: Path) -> None:
    gates = read(tmp_path, {"delta-not-small": {"threshold": 0.5, "reason": "a small model"}})
    assert gates.pop("delta-not-small") == DEFAULTS["delta-not-small"].model_copy(
        update={"threshold": 0.5, "reason": "a small model"}
    )
    assert list(gates.items()) == [item for item in DEFAULTS.items() if item[0] != "delta-not-small"]


def test_null_leaves_a_gate_out(tmp_path: Path) -> None:
    gates = read(tmp_path, {"demonstrations-above-rejected": None})
    assert gates == {name: gate for name, gate in DEFAULTS.items() if name != "demonstrations-above-rejected"}


def test_another_name_is_a_new_gate_after_the_defaults(tmp_path: Path) -> None:
    new = {"metric": "nll", "direction": "below", "threshold": 0.6, "failure": "unlikely", "reason": "a test"}
    assert list(read(tmp_path, {"likely": new}).values()) == [*DEFAULTS.values(), Gate(name="likely", **new)]


def test_an_option_of_the_command_line_changes_one_gate(tmp_path: Path) -> None:
    gates = read(tmp_path, {}, "gates.reward_model.calibrated={threshold: 0.1, reason: a pilot}")
    assert gates["calibrated"].threshold == 0.1
    assert len(gates) == len(DEFAULTS)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"delta-not-smal": None}, "no default gate is called delta-not-smal, so it cannot be left out; there are"),
        ({"delta-not-small": {"threshold": 0.5}}, "delta-not-small: .*say in `reason` why"),
        ({"delta-not-small": {"treshold": 0.5, "reason": "a"}}, "delta-not-small: treshold: "),
        ({"delta-not-small": {"threshold": "much", "reason": "a"}}, "delta-not-small: threshold: "),
        ({"delta-not-smal": {"threshold": 0.5, "reason": "a"}}, "delta-not-smal: metric: Field required"),
        ({"delta-not-small": 0.5}, "delta-not-small: name the fields to change"),
    ],
)
def test_a_change_that_cannot_be_made_is_refused_with_its_gate(tmp_path: Path, changes: object, said: str) -> None:
    with pytest.raises(InputError, match=rf"field 'gates\.reward_model': {said}"):
        read(tmp_path, changes)


def test_changed_gates_are_written_as_a_list_that_means_the_same() -> None:
    changed = GatesConfig.model_validate({"reward_model": {"calibrated": None}})
    assert GatesConfig.model_validate(changed.model_dump(mode="json")) == changed
