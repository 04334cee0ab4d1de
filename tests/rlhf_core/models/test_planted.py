"""Code that somebody put into a model's folder, as a pickle or as Python, runs nowhere, and a pickle is told as one."""

import json
import pickle
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM

from rlhf_core.base.pretrained import adopt
from rlhf_core.data.model_settings import read_config
from rlhf_core.data.tokenizer import READ_AS_TOKENS, allows_special_tokens, load_tokenizer
from rlhf_core.models.classifiers import CODE
from rlhf_core.models.loading import load_policy, load_reward_model
from rlhf_core.models.model_files import check_files, read_files
from rlhf_core.models.weights import check_weights, complete_model
from tests.rlhf_core.conftest import build_tokenizer
from tests.rlhf_core.planted import payload

MARKER = "ran"


@pytest.fixture
def folder(base: Path) -> Iterator[Path]:
    """A folder of a model, beside which nothing of it may write."""
    yield base
    assert not (base.parent / MARKER).exists()


def readers(folder: Path, out: Path) -> dict[str, Callable[[], object]]:
    """Whatever reads a folder from elsewhere."""
    tokenizer = build_tokenizer()
    return {
        "files": lambda: check_files(folder),
        "names": lambda: check_weights(AutoModelForCausalLM, folder),
        "weights": lambda: complete_model(AutoModelForCausalLM, folder),
        "policy": lambda: load_policy(folder, tokenizer),
        "reward model": lambda: load_reward_model(folder, tokenizer),
        "base": lambda: list(adopt(folder, out=out)),
    }


def test_the_payload_of_these_tests_would_run(tmp_path: Path) -> None:
    pickle.loads(payload(tmp_path / MARKER))
    assert (tmp_path / MARKER).exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "policy.ckpt", "pytorch_model-00001-of-00001.bin"])
def test_pickled_weights_are_refused_with_the_way_to_convert_them(name: str, folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(payload(folder.parent / MARKER))
    index = {"weight_map": {"model.norm.weight": name}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    for read in readers(folder, tmp_path / "out").values():
        with pytest.raises(
            ValueError, match=rf"it holds {name}; pickled weights may run any code .* `AutoModelForCausa"
        ):
            read()


@pytest.mark.parametrize("shard", ["shard.bin", "../model.safetensors", "/elsewhere/model.safetensors", 3, None])
def test_an_index_names_only_safetensors_beside_it(shard: object, folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").rename(tmp_path / "model.safetensors")
    (folder / "shard.bin").write_bytes(payload(folder.parent / MARKER))
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"model.norm.weight": shard}}))
    for read in readers(folder, tmp_path / "out").values():
        with pytest.raises(
            ValueError, match=r"`weight_map` must name for each weight a file that ends in .safetensors"
        ):
            read()


def test_a_pickle_that_is_called_safetensors_is_damaged(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").write_bytes(payload(folder.parent / MARKER))
    for read in readers(folder, tmp_path / "out").values():
        with pytest.raises(ValueError, match=r"model.safetensors is cut short or damaged"):
            read()


def test_pickles_beside_sound_weights_are_not_read(folder: Path, tmp_path: Path) -> None:
    read = read_files(folder)
    for name in ("pytorch_model.bin", "adapter_model.bin", "optimizer.pt", "training_args.bin", "tokenizer.pkl"):
        (folder / name).write_bytes(payload(folder.parent / MARKER))
    assert read_files(folder) == read
    for each in readers(folder, tmp_path / "out").values():
        each()


MAPS = {
    "AutoConfig": "planted.Planted",
    "AutoModel": "planted.Planted",
    "AutoModelForCausalLM": "planted.Planted",
    "AutoModelForSequenceClassification": "planted.Planted",
    "AutoTokenizer": ["planted.Planted", "planted.Planted"],
    "AutoProcessor": "planted.Planted",
}


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "generation_config.json"])
@pytest.mark.parametrize("family", [None, "new"])
def test_python_in_a_folder_is_not_run_whatever_names_it(
    name: str, family: str | None, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = f"open({str(folder.parent / MARKER)!r}, 'w').write('it ran')\nclass Planted: pass\ngenerate = Planted\n"
    for path in ("planted.py", "custom_generate/generate.py", "modeling_planted.py", str(CODE), "sitecustomize.py"):
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(code)
    said: dict[str, Any] = json.loads((folder / name).read_text()) | {"auto_map": MAPS, "custom_generate": "planted"}
    classes = {"model_type": family, "tokenizer_class": "Planted", "processor_class": "Planted"} if family else {}
    (folder / name).write_text(json.dumps(said | classes))
    every = readers(folder, tmp_path / "out")
    for read in (*every.values(), lambda: load_tokenizer(str(folder)), lambda: read_config(folder)):
        with suppress(ValueError):
            read()
    assert capsys.readouterr().out == ""


def test_what_is_made_of_a_base_names_no_code(folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer_config.json", "generation_config.json"):
        said = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(said | {"auto_map": MAPS}))
    (folder / CODE).write_text(f"open({str(folder.parent / MARKER)!r}, 'w').write('it ran')")
    list(adopt(folder, out=tmp_path / "out"))
    assert not [path for path in (tmp_path / "out").glob("*.json") if "auto_map" in path.read_text()]
    assert not list((tmp_path / "out").glob("**/*.py"))


@pytest.mark.parametrize("allow", [True, False])
def test_only_whoever_takes_a_base_allows_special_tokens_in_texts(folder: Path, tmp_path: Path, allow: bool) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {READ_AS_TOKENS: "allow"}))
    list(adopt(folder, out=tmp_path / "out", allow=allow))
    tokenizer = load_tokenizer(str(tmp_path / "out"))
    assert allows_special_tokens(tokenizer) is allow
    assert allows_special_tokens(load_tokenizer(str(folder), allow=allow)) is allow
