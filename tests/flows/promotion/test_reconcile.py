"""What the receiver makes of an alias that was moved on MLflow's page, on a real registry and a real outbox."""

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.config.errors import InputError
from flows.promotion.history import history
from flows.promotion.outbox import Outbox
from flows.promotion.reconcile import detect
from flows.registry.client import Registry, open_registry
from flows.registry.names import HELD_TAG
from flows.registry.references import ModelRef

Register = Callable[..., ModelRef]
MODEL = "desk-reward-model"


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "receiver" / "ledger.db")


@pytest.fixture
def look(desk: Registry, outbox: Outbox) -> Callable[[], str]:
    """Look at the registry; the status of the newest promotion."""

    def looked() -> str:
        detect(desk.client, outbox, outbox.path.parent)
        newest = outbox.last(MODEL)
        assert newest is not None
        return newest.status

    return looked


def held(desk: Registry, ref: ModelRef) -> str | None:
    tag: str | None = desk.client.get_model_version(ref.name, ref.version).tags.get(HELD_TAG)
    return tag


def test_a_version_with_altered_files_is_held_until_they_are_put_back(
    desk: Registry, register: Register, look: Callable[[], str]
) -> None:
    sound, altered = (register(MODEL, gate_status="passed") for _ in range(2))
    weights = desk.folder(altered) / "weights"
    weights.write_bytes(b"\0\2")
    desk.set_alias(altered, "champion")
    assert look() == "held"
    assert "(altered: weights)" in str(held(desk, altered))
    assert not history(desk, MODEL)[0].forced  # its gates have passed
    weights.write_bytes(b"\0\1")
    assert look() == "open" and held(desk, altered) is None
    desk.set_alias(sound, "champion")
    assert look() == "open"
    weights.write_bytes(b"\0\2")
    desk.set_alias(altered, "champion")  # promoted once more, and looked at once more
    assert look() == "held"
    desk.take_alias([altered], "champion")


def test_one_project_that_cannot_be_recorded_keeps_no_other_from_being_noticed(
    desk: Registry, register: Register, outbox: Outbox
) -> None:
    ref = register("other-sft", gate_status="passed")
    gone = open_registry("other-promotions", desk.storage)
    desk.client.delete_experiment(gone.experiment_id)
    sound = register("desk-sft", gate_status="passed")
    for version in (ref, sound):
        desk.set_alias(version, "champion")
    with pytest.raises(InputError, match=r"^other-sft/1: the experiment 'other-promotions' was deleted"):
        detect(desk.client, outbox, outbox.path.parent)
    newest = outbox.last("desk-sft")
    assert newest is not None and newest.status == "open" and outbox.last("other-sft") is None
    for version in (ref, sound):
        desk.take_alias([version], "champion")
