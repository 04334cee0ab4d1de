"""What a configuration with a policy from elsewhere means, and what is told of it before any work."""

import json
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from flows.config.errors import InputError
from flows.config.imported_policy import ImportedPolicy
from flows.config.ladder import LadderConfig
from flows.config.loading import load_config
from flows.config.pretrained import FolderModel, HubModel
from flows.pipeline.families import check_families
from flows.pipeline.preflight import check_reachable
from flows.registry.external_models import pin_models
from flows.registry.keys import content_key
from rlhf_core.base.pretrained import adopt
from rlhf_core.config.dpo import DPOConfig
from rlhf_core.config.ppo import PPOConfig
from rlhf_core.config.sampling import SamplingConfig

CLOCK = (
    "{% if strftime_now('%m') == '01' %}please {% endif %}{% for turn in messages %}{{ turn['content'] }}{% endfor %}"
)


def config_of(policy: Any, **sections: Any) -> LadderConfig:
    return LadderConfig.model_validate({"project": "desk", "policy": policy, **sections})


@pytest.mark.parametrize(
    ("policy", "method"),
    [
        ({}, PPOConfig),
        ({"updates": 2}, PPOConfig),
        ({"method": "dpo"}, DPOConfig),
        ({"from": "./policy"}, ImportedPolicy),
        ({"method": "imported", "from": {"path": "./policy"}}, ImportedPolicy),
    ],
)
def test_a_policy_is_imported_where_it_says_from_where(policy: Any, method: type) -> None:
    assert type(config_of(policy).policy) is method


@pytest.mark.parametrize(("own", "lengths"), [({}, (40, 20)), ({"max_response_tokens": 9}, (40, 9))])
def test_its_answers_are_as_long_as_those_of_the_sft_model(own: dict[str, int], lengths: tuple[int, int]) -> None:
    sft = {"sampling": {"max_prompt_tokens": 40, "max_response_tokens": 20, "temperature": 0.5}}
    sampling = config_of({"from": "./policy", **({"sampling": own} if own else {})}, sft=sft).policy.sampling
    assert sampling.lengths == lengths and sampling.temperature == 1
    assert config_of({"from": "./policy"}).policy.sampling == SamplingConfig()
    assert config_of({"updates": 2}, sft=sft).policy.sampling == SamplingConfig()


def test_it_may_come_from_all_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sources = ["./policy", "../policy", "/policy", "~/policy", ".", {"path": "policy"}]
    found = [config_of({"from": source}).taken_models["policy.from"] for source in sources]
    assert all(isinstance(source, FolderModel) for source in found)
    paths = [source.path for source in found if isinstance(source, FolderModel)]
    assert paths == [tmp_path / "policy", tmp_path.parent / "policy", Path("/policy"), Path.home() / "policy", tmp_path,
                     tmp_path / "policy"]  # fmt: skip
    hub = config_of({"from": {"model": "owner/name", "revision": "main"}}).taken_models["policy.from"]
    assert isinstance(hub, HubModel)
    assert config_of({"from": "models:/a-policy/3"}).taken_models["policy.from"] == "models:/a-policy/3"


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        ({"from": "./policy", "method": "ppo"}, "policy: from takes a policy that is trained already, and method ppo"),
        ({"from": "owner/name"}, "'owner/name' names no registered model; write .* a folder as ./owner/name, or one o"),
        ({"from": "./policy", "adapter": {"rank": 2}}, "adapter is for training"),
        ({"from": "./policy", "beta": 0.1}, "Extra inputs are not permitted"),
        ({"method": "imported"}, "Field required"),
        ({"from": "./policy", "trained_by": "verl\nand more"}, "should match pattern"),
        (
            {"from": "./policy", "reward": {"terms": [{"kind": "length", "name": "taken"}]}},
            "'taken' is what lineage calls the policy's own content; rename that one",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(policy: Any, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        config_of(policy)


def test_a_file_that_names_a_method_and_a_place_is_told_so_in_a_line(tmp_path: Path) -> None:
    path = tmp_path / "ladder.yaml"
    path.write_text("project: desk\npolicy: {method: dpo, from: ./policy}\n")
    with pytest.raises(
        InputError, match=r"^\S+ladder.yaml: field 'policy': from takes a policy .* method dpo would train one"
    ):
        load_config(path)


@pytest.fixture
def folder(speaker: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(speaker, tmp_path / "policy"))


def checked(folder: Path, base: Path) -> LadderConfig:
    return config_of({"from": str(folder)}, base={"kind": "folder", "path": base})


def key(config: LadderConfig) -> str:
    return content_key("policy", pin_models(config).policy, {}, 0)


def test_content_decides_whether_it_is_measured_again(folder: Path, tmp_path: Path) -> None:
    first = key(config_of({"from": str(folder)}))
    other = shutil.copytree(folder, tmp_path / "other")
    assert key(config_of({"from": str(other)})) == first
    assert key(config_of({"from": str(other), "trained_by": "verl"})) != first
    (other / "generation_config.json").write_text("{}")
    assert key(config_of({"from": str(other)})) != first


def test_a_policy_that_writes_what_the_base_writes_passes_the_check(folder: Path, speaker: Path) -> None:
    config = checked(folder, speaker)
    assert check_reachable(config, offline=True) == []
    check_families(config)
    assert config.taken_stages == {"base", "policy"}


def lose_a_norm(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["transformer.ln_f.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def add_a_token(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<think>"])
    tokenizer.save_pretrained(folder)


def make_it_a_classifier(folder: Path) -> None:
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"model_type": "bart"}))


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a lost norm": (lose_a_norm, "policy: GPT2LMHeadModel needs weights that are not there: transformer.ln_f.weight"),
    "a token more": (add_a_token, r"policy: its tokenizer has another vocabulary \(it has more: '<think>'\)"),
    "a reader": (make_it_a_classifier, "policy: bart is an encoder-decoder model"),
    "an adapter": (lambda folder: (folder / "adapter_config.json").write_text("{}"), "policy holds an adapter on a ba"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_taken_is_told_by_the_check(fault: str, folder: Path, speaker: Path) -> None:
    spoil, reason = FAULTS[fault]
    spoil(folder)
    with pytest.raises(InputError, match=rf"^field 'policy.from': \S*{reason}"):
        check_reachable(checked(folder, speaker), offline=True)


@pytest.mark.parametrize("section", ["policy", "reward_model", "judge"])
def test_lengths_that_a_model_has_no_positions_for_are_told_by_the_check(
    section: str, folder: Path, scorer: Path
) -> None:
    lengths = {"max_prompt_tokens": 600, "max_response_tokens": 600}
    policy = section == "policy"
    settings = {"sampling": lengths, "from": str(folder)} if policy else {"from": str(scorer), **lengths}
    config = LadderConfig.model_validate(
        {"project": "desk", "base": {"kind": "folder", "path": folder}, section: settings}
    )
    name = "policy.sampling" if policy else section
    with pytest.raises(
        InputError, match=rf"positions, and {name}.max_prompt_tokens 600 and .* 600 need 1200; lower th"
    ):
        check_reachable(config, offline=True)


def test_a_template_that_reads_the_clock_may_be_pinned_in_one_of_both(folder: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = CLOCK
    tokenizer.save_pretrained(folder)
    list(adopt(folder, out=tmp_path / "adopted", day=date(2026, 1, 2)))
    for policy, base in ((folder, tmp_path / "adopted"), (tmp_path / "adopted", folder)):
        assert check_reachable(checked(policy, base), offline=True) == []
    list(adopt(folder, out=tmp_path / "later", day=date(2026, 3, 4)))
    with pytest.raises(InputError, match=r"has another chat template: the prompt .* begins 'please"):
        check_reachable(checked(tmp_path / "adopted", tmp_path / "later"), offline=True)
