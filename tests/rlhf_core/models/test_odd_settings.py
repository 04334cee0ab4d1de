"""A folder whose JSON files say what no model can be is refused in a line that names it, before memory is taken."""

import json
import re
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rlhf_core.data.model_settings import SIZES, check_sizes, read_config
from rlhf_core.data.stop_tokens import listed_stops
from rlhf_core.data.tokenizer import load_tokenizer
from rlhf_core.models.fitness import check_base
from rlhf_core.models.loading import load_policy
from tests.rlhf_core.conftest import build_tokenizer, llama

ODD = (None, True, "x", "", -1, 0, 1, 3, 10**6, 10**9, 10**30, 1.5, float("nan"), -float("inf"), [], [1], {}, {"a": 1})

MORE = ("rope_scaling", "rope_parameters", "head_dim", "num_labels", "id2label", "quantization_config", "layer_types")

FILES = ("config.json", "tokenizer_config.json", "generation_config.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("odd")
    llama().save_pretrained(made)
    build_tokenizer().save_pretrained(made)
    return made


def read(folder: Path) -> None:
    """Whatever a base from elsewhere goes through."""
    check_base(read_config(folder))
    load_policy(folder, load_tokenizer(str(folder)))


def changed(folder: Path, name: str, **changes: Any) -> Callable[[], None]:
    """Change a file; what comes back undoes it."""
    path = folder / name
    sound = path.read_text()
    path.write_text(json.dumps(json.loads(sound) | changes))
    return lambda: void(path.write_text(sound))


def void(_: object) -> None:
    return None


def refusal(folder: Path, name: str, **changes: Any) -> str:
    """What is said of a folder with a file changed; empty where it is read."""
    undo = changed(folder, name, **changes)
    try:
        read(folder)
    except ValueError as error:
        return str(error)
    finally:
        undo()
    return ""


LARGE = {"vocab_size": 10**9, "num_hidden_layers": 10**6, "num_labels": 10**9, "intermediate_size": 10**12}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *LARGE.items(),
        *(("max_position_embeddings", value) for value in (-1, 0, "2048", 1.5, True)),
        *(("rope_theta", value) for value in (float("nan"), float("inf"))),
        ("rms_norm_eps", float("nan")),
        ("hidden_size", 0),
    ],
)
def test_a_number_that_no_model_has_is_told_with_its_key_and_range(folder: Path, key: str, value: object) -> None:
    said = refusal(folder, "config.json", **{key: value})
    least, most = SIZES.get(key, (0, 0))
    range_ = f"no whole number from {least} to {most}" if most and not isinstance(value, float) else "no "
    assert said.startswith(f"{folder}: `{key}` in config.json is ") and range_ in said
    assert said.endswith("correct it, or take the folder as it was saved")


def test_sizes_below_are_held_too_and_sound_ones_pass() -> None:
    with pytest.raises(ValueError, match=r"there: `n_layer` in config.json is 5000, no whole number from 1 to 1000"):
        check_sizes({"text_config": {"n_layer": 5000}}, "there")
    check_sizes({"vocab_size": 2**24, "num_local_experts": 0, "n_inner": None, "x": [1.0, {"y": "NaN"}]}, "there")


def test_sizes_that_the_weights_do_not_have_take_no_memory(folder: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for key in ("hidden_size", "intermediate_size", "vocab_size"):
        said = refusal(folder, "config.json", **{key: 2**20})
        assert "other shapes" in said or "weights that are not there" in said, said
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18  # KiB


@pytest.mark.parametrize("stop", ["2", -1, 1.5, [2, "x"], [[2]], True])
def test_stops_that_are_no_ids_are_told(folder: Path, stop: object) -> None:
    undo = changed(folder, "generation_config.json", eos_token_id=stop)
    try:
        with pytest.raises(ValueError, match=re.escape("in generation_config.json") + "|cannot be used"):
            listed_stops(str(folder))
    finally:
        undo()


def test_ids_far_beyond_the_rows_of_a_model_are_no_reason_to_enlarge_it(folder: Path) -> None:
    path = folder / "tokenizer.json"
    sound = path.read_text()
    said = json.loads(sound)
    said["model"]["vocab"]["thanks"] = 10**9
    path.write_text(json.dumps(said))
    try:
        with pytest.raises(
            ValueError, match=r"its tokenizer has ids up to 1000000000, and the model 10 rows; take tok"
        ):
            read(folder)
    finally:
        path.write_text(sound)


def test_a_tokenizer_that_would_fill_the_memory_is_told(folder: Path) -> None:
    grows = {"type": "Replace", "pattern": {"Regex": "."}, "content": "a" * 32}
    said = refusal(folder, "tokenizer.json", normalizer={"type": "Sequence", "normalizers": [grows] * 2})
    assert said.startswith(f"{folder}: the normalizer in tokenizer.json can make 1,024 characters of one"), said
    assert refusal(folder, "tokenizer.json", normalizer=grows) == ""


def test_a_length_that_is_no_number_is_told(folder: Path) -> None:
    said = refusal(folder, "tokenizer_config.json", model_max_length="2048")
    assert f"{folder}: `model_max_length` in tokenizer_config.json is '2048', no number of tokens;" in said


@settings(
    max_examples=40, deadline=20_000, suppress_health_check=[HealthCheck.too_slow], derandomize=True, database=None
)
@given(data=st.data())
def test_any_value_under_any_key_is_read_or_told_in_a_line(folder: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(FILES))
    keys = [*json.loads((folder / name).read_text()), *(MORE if name == "config.json" else ())]
    said = refusal(folder, name, **{data.draw(st.sampled_from(keys)): data.draw(st.sampled_from(ODD))})
    assert "\n" not in said
