"""What a model's folder says of itself is read without running what lies in it, and held against its range."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, LlamaConfig

from rlhf_core.data.model_settings import read_config, read_tokenizer, stored_number
from rlhf_core.models.ensembles import AGGREGATE, CENTRE, UNCERTAINTY_LAMBDA
from rlhf_core.models.heads import TEMPERATURE, check_stored
from rlhf_core.models.weights import complete_model

PAYLOAD = """
from pathlib import Path
Path({marker!r}).write_text("ran")
from transformers import LlamaConfig as Planted
"""


@pytest.fixture
def planted(base: Path, tmp_path: Path) -> Callable[[str, dict[str, Any]], Path]:
    """Puts code beside a model, and an `auto_map` that names it into one of its files."""

    def plant(name: str, changes: dict[str, Any]) -> Path:
        (base / "planted.py").write_text(PAYLOAD.format(marker=str(tmp_path / "ran")))
        path = base / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
        return base

    return plant


NEW_FAMILY = {"model_type": "new", "auto_map": {"AutoConfig": "planted.Planted"}}


def test_a_model_that_needs_its_own_code_is_refused_and_its_code_not_run(
    planted: Callable[[str, dict[str, Any]], Path], tmp_path: Path
) -> None:
    folder = planted("config.json", NEW_FAMILY)
    refused = r"needs code that lies beside it \(`auto_map`\), which is never run here; name a model whose family"
    with pytest.raises(ValueError, match=refused):
        read_config(folder)
    with pytest.raises(ValueError, match=refused):
        complete_model(AutoModelForCausalLM, folder)
    assert not (tmp_path / "ran").exists()


def test_the_code_of_a_tokenizer_is_not_run_whether_or_not_its_family_has_one(
    planted: Callable[[str, dict[str, Any]], Path], tmp_path: Path
) -> None:
    maps = {"AutoTokenizer": ["planted.Planted", "planted.Planted"]}
    folder = planted("tokenizer_config.json", {"tokenizer_class": "Planted", "auto_map": maps})
    with suppress(ValueError):
        assert type(read_tokenizer(folder)).__module__.startswith("transformers.")
    assert not (tmp_path / "ran").exists()


def test_code_beside_a_model_that_does_not_need_it_is_not_run_and_nobody_is_asked(
    planted: Callable[[str, dict[str, Any]], Path], tmp_path: Path
) -> None:
    maps = {"AutoConfig": "planted.Planted", "AutoModelForCausalLM": "planted.Planted"}
    folder = planted("config.json", {"auto_map": maps})
    code = (
        "import sys, pathlib; from rlhf_core.data.model_settings import read_config; "
        "from rlhf_core.models.weights import complete_model; from transformers import AutoModelForCausalLM; "
        "folder = pathlib.Path(sys.argv[1]); read_config(folder); complete_model(AutoModelForCausalLM, folder)"
    )
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, input="y\n" * 9, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, "Do you wish" in done.stdout) == (0, False), done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("value", [-1.0, 0, 1e-30, float("nan"), float("inf"), "1.0", True, [1.0]])
def test_a_temperature_that_would_turn_or_break_scores_is_refused(value: object) -> None:
    config = LlamaConfig(**{TEMPERATURE: value})
    with pytest.raises(ValueError, match=r"`reward_temperature` in config.json is .* number of at least 1e-06"):
        check_stored(config)


@pytest.mark.parametrize(
    ("key", "value"),
    [(AGGREGATE, "best"), (AGGREGATE, 3), (UNCERTAINTY_LAMBDA, -0.1), (CENTRE, float("nan")), (CENTRE, "0")],
)
def test_a_rule_of_an_ensemble_that_is_none_is_refused(key: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"`{key}` in config.json is {value!r}"):
        check_stored(LlamaConfig(**{key: value}))


def test_what_is_sound_is_read() -> None:
    check_stored(LlamaConfig(**{TEMPERATURE: 2, AGGREGATE: "min", CENTRE: -3.5}))
    assert stored_number(LlamaConfig(**{CENTRE: -3}), CENTRE, 0.0) == -3.0
    assert stored_number(LlamaConfig(), CENTRE, 0.5) == 0.5
