"""Weights are whole or refused by their names, and a folder that holds something else is told what it holds."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, LlamaConfig, LlamaForCausalLM

from rlhf_core.base.pretrained import adopt
from rlhf_core.models.loading import load_policy, load_reward_model
from rlhf_core.models.model_files import check_files, read_files
from rlhf_core.models.weights import check_weights, complete_model
from tests.rlhf_core.conftest import build_tokenizer

Change = Callable[[dict[str, Tensor]], object]
NORM, HEAD = "model.norm.weight", "score.weight"
SHAPE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy and a reward model of it."""
    folder = tmp_path_factory.mktemp("saved")
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    policy = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), pad_token_id=0, eos_token_id=2, **SHAPE))
    policy.save_pretrained(folder / "policy")
    AutoModelForSequenceClassification.from_pretrained(folder / "policy", num_labels=1).save_pretrained(folder / "rm")
    for kind in ("policy", "rm"):
        tokenizer.save_pretrained(folder / kind)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of either whose weights are changed."""

    def make(kind: str, change: Change = lambda _: None) -> Path:
        folder = Path(shutil.copytree(saved / kind, tmp_path / kind))
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    return make


def put(name: str, make: Callable[[Tensor], Tensor], of: str = NORM) -> Change:
    return lambda weights: weights.update({name: make(weights[of])})


class Saved:
    """A stand-in for a class of models: what its loader reports, and one layer that has a bad number, or none."""

    def __init__(self, bad: float = 0.0, **report: str) -> None:
        self.layer = torch.nn.Linear(2, 2)
        self.layer.weight.data[1, 0] = bad
        kinds = ("missing", "unexpected", "mismatched")
        self.report = {f"{kind}_keys": {report[kind]} if kind in report else set() for kind in kinds}

    def from_pretrained(self, _: str, **__: object) -> tuple[torch.nn.Module, dict[str, set[str]]]:
        return self.layer, self.report


def refusal(saved: Saved, **allowed: tuple[str, ...]) -> str:
    try:
        complete_model(saved, "somewhere", **allowed)
    except ValueError as error:
        return str(error)
    return ""


def test_a_model_with_missing_weights_is_none_but_where_they_are_new() -> None:
    saved = Saved(missing=HEAD)
    assert refusal(saved) == f"somewhere: Linear needs weights that are not there: {HEAD}; name a whole model"
    assert refusal(saved, new=(HEAD,)) == ""


def test_a_model_with_weights_that_nobody_reads_is_none_but_where_they_are_spare() -> None:
    saved = Saved(unexpected="v_head.bias")
    assert refusal(saved).startswith("somewhere: Linear does not read weights that are there: v_head.bias; take")
    assert refusal(saved, spare=("v_head.bias",)) == ""


def test_a_model_with_one_weight_that_is_no_number_is_none() -> None:
    for bad in (float("nan"), float("inf"), -float("inf")):
        assert (
            refusal(Saved(bad)) == "somewhere: weights are not finite (NaN or infinite): weight; fetch or save it again"
        )
    assert refusal(Saved(3e38)) == ""


FAULTS: dict[str, tuple[str, Change, str]] = {
    "missing": ("policy", lambda weights: weights.pop(NORM), f"needs weights that are not there: {NORM}; name"),
    "no head": ("rm", lambda weights: weights.pop(HEAD), f"needs weights that are not there: {HEAD}; name"),
    "unread": (
        "policy",
        put("v_head.weight", torch.zeros_like),
        "does not read weights that are there: v_head.weight;",
    ),
    "unread layer": (
        "rm",
        put("model.layers.2.x", torch.zeros_like),
        "not read weights that are there: model.layers.2.x;",
    ),
    "bias": ("rm", put("score.bias", lambda _: torch.zeros(1)), "does not read weights that are there: score.bias;"),
    "shape": ("policy", put(NORM, lambda _: torch.ones(17)), rf"of other shapes: {NORM} \(17,\) instead of \(16,\);"),
    "members": (
        "rm",
        put(HEAD, lambda _: torch.ones(2, 16)),
        rf"of other shapes: {HEAD} \(2, 16\) instead of \(1, 16\);",
    ),
    "nan": ("policy", put(NORM, lambda norm: norm * float("nan")), rf"not finite \(NaN or infinite\): {NORM}; fetch"),
    "digits": (
        "policy",
        put(NORM, lambda norm: norm.int()),
        f"whole numbers, as those of a quantised.*: {NORM};",
    ),
    "inf": ("rm", put(HEAD, lambda head: head - float("inf"), HEAD), rf"not finite \(NaN or infinite\): {HEAD}; fetch"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_weights_is_refused_by_their_names(fault: str, copy: Callable[..., Path]) -> None:
    kind, change, reason = FAULTS[fault]
    folder = copy(kind, change)
    load = load_policy if kind == "policy" else load_reward_model
    with pytest.raises(ValueError, match=reason):
        load(folder, build_tokenizer())
    if fault in ("nan", "inf"):
        return
    family = AutoModelForCausalLM if kind == "policy" else AutoModelForSequenceClassification
    with pytest.raises(ValueError, match=reason):
        check_weights(family, folder)


def test_whole_weights_are_loaded_and_those_of_old_buffers_are_passed_over(copy: Callable[..., Path]) -> None:
    folder = copy("policy", put("model.layers.0.self_attn.masked_bias", torch.zeros_like))
    check_weights(AutoModelForCausalLM, folder)
    assert load_policy(folder, build_tokenizer()).model.norm.weight.tolist() == [1.0] * 16
    assert load_reward_model(folder, build_tokenizer()).score.weight.shape == (1, 16)  # without lm_head, which is spare


def test_a_start_of_a_reward_model_may_lack_no_more_than_its_head(copy: Callable[..., Path]) -> None:
    folder = copy("policy", put("model.layers.2.x", torch.zeros_like))
    with pytest.raises(ValueError, match=r"does not read weights that are there: model.layers.2.x"):
        load_reward_model(folder, build_tokenizer())


def test_many_names_are_counted(copy: Callable[..., Path]) -> None:
    folder = copy("policy", lambda weights: [weights.pop(name) for name in list(weights) if "layers.1" in name])
    with pytest.raises(ValueError, match=r"not there: model.layers.1.input_layernorm.weight, .* and 6 more; name"):
        complete_model(AutoModelForCausalLM, folder)


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])


def lose_a_shard(folder: Path) -> None:
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(folder, max_shard_size="5KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    next(folder.glob("model-00002-of-*.safetensors")).unlink()


def in_shards(folder: Path) -> None:
    """Save a model in two shards, of which the first has the norm."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    parts = {"a.safetensors": {NORM: weights.pop(NORM)}, "b.safetensors": weights}
    for name, part in parts.items():
        save_file(part, folder / name, metadata={"format": "pt"})
    weight_map = {key: name for name, part in parts.items() for key in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def leave_another_norm(folder: Path) -> None:
    in_shards(folder)
    weights = load_file(folder / "b.safetensors")
    save_file(weights | {NORM: torch.ones(SHAPE["hidden_size"])}, folder / "b.safetensors", metadata={"format": "pt"})


def swap_shards(folder: Path) -> None:
    in_shards(folder)
    (folder / "a.safetensors").rename(folder / "c.safetensors")
    (folder / "b.safetensors").rename(folder / "a.safetensors")
    (folder / "c.safetensors").rename(folder / "b.safetensors")


def link_to_a_device(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("/dev/zero")


def leave_states(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "global_step5").mkdir()
    (folder / "global_step5" / "mp_rank_00_model_states.pt").write_text("")


def only(folder: Path, *names: str, text: str = "{}") -> None:
    """Leave nothing in a folder but a few files with a text."""
    shutil.rmtree(folder)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


OTHERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut short": (cut, r"model.safetensors is cut short or damaged \(.*\); fetch or save it again"),
    "a pointer": (
        lambda folder: (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n"),
        "model.safetensors is a pointer of Git LFS, not the weights; fetch them by `git lfs pull`",
    ),
    "a missing shard": (
        lose_a_shard,
        r"model-00002-of-0000\d.safetensors is missing, and the index beside it lists weights in it",
    ),
    "a weight in two shards": (
        leave_another_norm,
        rf"{NORM} lies in a.safetensors and in b.safetensors: shards of two models or versions seem to be mixed; fetch",
    ),
    "shards that changed places": (
        swap_shards,
        rf"index.json says that {NORM} lies in a.safetensors, and it lies in b.safetensors: shards of two",
    ),
    "a device": (link_to_a_device, "model.safetensors is a device, a pipe or a folder, and no file; fetch or save it"),
    "no weights": (
        lambda folder: (folder / "model.safetensors").unlink(),
        "holds no model.safetensors, in one file or in shards; name a folder that `save_pre",
    ),
    "an adapter": (
        lambda folder: only(folder, "adapter_config.json", text='{"base_model_name_or_path": "someone/base"}'),
        "holds an adapter on someone/base, not a whole model; load it with peft, and name the folder that `merge_and",
    ),
    "an adapter beside a model": (
        lambda folder: (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/base"}'),
        "holds an adapter on someone/base, not a whole model",
    ),
    "checkpoints": (
        lambda folder: only(folder, "checkpoint-10/config.json", "checkpoint-20/config.json"),
        "holds no config.json, so it is no model; there are models in it, name one: checkpoint-10, checkpoint-20",
    ),
    "a GGUF file": (
        lambda folder: only(folder, "model.gguf"),
        r"so it is no model; for model.gguf write base: \{kind: gguf, path: .*, file: model.gguf\}",
    ),
    "states of a trainer": (
        leave_states,
        "in shards; it holds the shards of a trainer, which its own tool merges into such a folder",
    ),
    "a broken configuration": (
        lambda folder: (folder / "config.json").write_text('{"model_type": '),
        r"config.json cannot be read \(Expecting value: line 1 .*\); fetch or save it again",
    ),
    "nothing": (lambda folder: only(folder, "notes.md"), "holds no config.json, so it is no model; name a folder that"),
}


def test_a_model_in_shards_is_the_same_as_in_one_file(copy: Callable[..., Path]) -> None:
    folder = copy("policy")
    whole = load_file(folder / "model.safetensors")
    in_shards(folder)
    check_files(folder)
    loaded = load_policy(folder, build_tokenizer()).state_dict()
    assert all(torch.equal(loaded[name], weight) for name, weight in whole.items())


@pytest.mark.parametrize("what", OTHERS)
def test_a_folder_without_a_whole_model_is_told_what_it_holds(what: str, copy: Callable[..., Path]) -> None:
    spoil, reason = OTHERS[what]
    folder = copy("policy")
    spoil(folder)
    with pytest.raises(ValueError, match=reason):
        check_files(folder)
    with pytest.raises(ValueError, match=reason):
        list(adopt(folder, out=folder.with_name("out")))
    with pytest.raises(ValueError, match=reason):
        load_policy(folder, build_tokenizer())
    assert not folder.with_name("out").exists()


def test_what_is_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text("")
    with pytest.raises(ValueError, match=r"model.safetensors is a file; name a folder that `save_pretrained` wrote"):
        check_files(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"nowhere is not there; name a folder"):
        check_files(tmp_path / "nowhere")


def test_only_the_files_that_are_read_count(copy: Callable[..., Path]) -> None:
    folder = copy("policy")
    read = [path.name for path in read_files(folder)]
    assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= {*read}
    for name in (
        "README.md",
        "LICENSE.txt",
        "optimizer.pt",
        "trainer_state.json",
        "training_args.bin",
        "pytorch_model.bin",
    ):
        (folder / name).write_text("{}")
    (folder / "checkpoint-10").mkdir()
    (folder / "checkpoint-10" / "config.json").write_text("{}")
    assert [path.name for path in read_files(folder)] == read
    (folder / "added_tokens.json").write_text(json.dumps({}))
    assert len(read_files(folder)) == len(read) + 1
