"""What a stage made is looked at before it is kept."""

from pathlib import Path

import pytest

from flows.config.errors import InputError
from tests.flows import toys


def test_a_figure_that_is_no_number_fails_the_stage_and_registers_nothing(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ladder = toys.Toys("toy", storage)
    monkeypatch.setattr(toys, "TEMPERATURE", float("nan"))
    with pytest.raises(InputError, match=r"stage sft, after step 1: figures that are no numbers \(NaN\): temperature;"):
        ladder.stage("sft", "text")
    assert not ladder.registry.client.search_registered_models()
