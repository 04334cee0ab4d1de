"""Reward models of families that `transformers` has no sequence classifier for, and of families that can have none."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedModel
from transformers.modeling_layers import GenericForSequenceClassification

from benchmarks.families.configurations import configuration
from benchmarks.families.trial import TREES, WHOLE, tokenizer
from rlhf_core.config.adapter import AdapterConfig
from rlhf_core.data.packing import lay
from rlhf_core.models.classifiers import CODE, classifier_class
from rlhf_core.models.forward import response_logprobs_and_values, response_scores
from rlhf_core.models.heads import TEMPERATURE, add_value_head, as_classifier
from rlhf_core.models.loading import load_policy, load_reward_model, parameters, save
from rlhf_core.models.lora import add_adapter, twin
from rlhf_core.models.precision import device

WITHOUT_THE_PROJECT = """
import json, sys
import torch
from transformers import AutoModelForSequenceClassification
sequences, said = json.loads(sys.argv[1]), []
for folder in sys.argv[2:]:
    try:
        AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=False)
    except ValueError as error:
        assert "trust_remote_code=True" in str(error), error
    else:
        raise AssertionError("it was loaded without a word about its code")
    model, report = AutoModelForSequenceClassification.from_pretrained(
        folder, trust_remote_code=True, output_loading_info=True
    )
    assert not any(report.values()), report
    with torch.inference_mode():
        said.append([model.eval()(input_ids=torch.tensor([ids])).logits[0].tolist() for ids in sequences])
assert "rlhf_core" not in sys.modules
print(json.dumps(said))
"""


def base(family: str, folder: Path, **changes: object) -> Path:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(configuration(family, **changes)).save_pretrained(folder)
    return folder


def by_stock(folders: list[Path], cwd: Path) -> torch.Tensor:
    """What stock transformers says of `WHOLE` in a process that has none of this project, for each folder."""
    sequences = json.dumps([prompt + response for prompt, response in WHOLE])
    done = subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT_THE_PROJECT, sequences, *map(str, folders)],
        cwd=cwd, capture_output=True, text=True, timeout=240,
        env={"HF_MODULES_CACHE": str(cwd / "modules"), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return torch.tensor(json.loads(done.stdout))


def scores(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return response_scores(model, lay(TREES, device())).cpu()


def test_stock_transformers_loads_what_was_saved_with_its_code_and_says_the_same(tmp_path: Path) -> None:
    """Falcon-H1 keeps multipliers that are not saved, which transformers sets again for its own classes only."""
    families = ("olmoe", "falcon_h1")
    models = [load_reward_model(base(family, tmp_path / family), tokenizer(), heads=2) for family in families]
    folders = [
        save(model, tokenizer(), tmp_path / f"{name} saved") for model, name in zip(models, families, strict=True)
    ]
    assert all((folder / CODE).exists() for folder in folders)
    expected = torch.stack([scores(model) for model in models])
    torch.testing.assert_close(by_stock(folders, tmp_path), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["olmoe", "bailing_hybrid", "gemma4_text"])
def test_what_was_saved_is_loaded_again(family: str, tmp_path: Path) -> None:
    """Bailing stores its weights by other names, and the trunk of Gemma 4 has another configuration than its family."""
    model = load_reward_model(base(family, tmp_path / "base"), tokenizer())
    setattr(model.config, TEMPERATURE, 2.5)
    folder = save(model, tokenizer(), tmp_path / "reward")
    again = load_reward_model(folder, tokenizer())
    torch.testing.assert_close(scores(again), scores(model), rtol=1e-5, atol=1e-5)
    assert again.config.reward_temperature == 2.5
    assert parameters(folder) == again.num_parameters()
    assert (save(again, tokenizer(), tmp_path / "copy") / CODE).read_text() == (folder / CODE).read_text()


def test_a_stock_classifier_is_saved_without_code(tmp_path: Path) -> None:
    folder = save(load_reward_model(base("llama", tmp_path / "base"), tokenizer()), tokenizer(), tmp_path / "reward")
    assert not (folder / CODE).exists()
    assert "auto_map" not in json.loads((folder / "config.json").read_text())


def test_code_that_a_base_names_is_neither_run_nor_named_by_what_was_made_of_it(tmp_path: Path) -> None:
    folder = base("llama", tmp_path / "base")
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "someone/something--modeling.Model"}
    (folder / "config.json").write_text(json.dumps(config))
    out = save(load_policy(folder, tokenizer()), tokenizer(), tmp_path / "policy")
    assert "auto_map" not in json.loads((out / "config.json").read_text())


def test_a_class_that_other_code_registered_is_not_taken_for_stock(tmp_path: Path) -> None:
    """Loading a saved model with its code registers the class of that file for the whole process."""
    folder = base("nanochat", tmp_path / "base")
    saved = save(load_reward_model(folder, tokenizer()), tokenizer(), tmp_path / "reward")
    AutoModelForSequenceClassification.from_pretrained(saved, trust_remote_code=True)
    again = load_reward_model(saved, tokenizer())
    assert type(again).__module__.startswith("transformers.models.nanochat")
    assert (save(again, tokenizer(), tmp_path / "again") / CODE).exists()


def test_a_value_head_on_the_policy_is_saved_with_its_code(tmp_path: Path) -> None:
    policy = load_policy(base("olmoe", tmp_path / "base"), tokenizer())
    add_value_head(policy)
    torch.nn.init.normal_(policy.score.weight, generator=torch.Generator().manual_seed(1))
    value = load_reward_model(save(policy, tokenizer(), tmp_path / "value", form=as_classifier), tokenizer())
    assert (tmp_path / "value" / CODE).exists()
    with torch.no_grad():
        values = response_logprobs_and_values(policy, lay(TREES, device()))[2]
        expected = value.score(value.base_model(input_ids=torch.tensor([WHOLE[0][0]], device=device()))[0])[0, -1]
    assert float(values[0]) == pytest.approx(float(expected), abs=1e-4)


def test_an_adapter_on_the_trunk_is_merged_into_what_is_saved_with_code(tmp_path: Path) -> None:
    policy = load_policy(base("ernie4_5", tmp_path / "base"), tokenizer())
    model = load_reward_model(tmp_path / "base", tokenizer())
    add_adapter(model, AdapterConfig(rank=2, alpha=4.0), seed=0)
    for name, weight in model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(weight, std=0.3)
    folder = save(model, tokenizer(), tmp_path / "reward")
    torch.testing.assert_close(scores(load_reward_model(folder, tokenizer())), scores(model), rtol=1e-4, atol=1e-4)
    beside = load_reward_model(folder, tokenizer(), beside=twin(policy))
    torch.testing.assert_close(scores(beside), scores(model), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("lost", ["score.weight", "model.layers.1.mlp.up_proj.weight"])
def test_a_classifier_without_some_of_its_weights_is_refused(lost: str, tmp_path: Path) -> None:
    folder = save(load_reward_model(base("llama", tmp_path / "base"), tokenizer()), tokenizer(), tmp_path / "reward")
    weights = load_file(folder / "model.safetensors")
    del weights[lost]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=rf"needs weights that are not there: {lost}; name a whole model"):
        load_reward_model(folder, tokenizer())


def test_a_policy_without_some_of_its_weights_is_refused(tmp_path: Path) -> None:
    folder = base("llama", tmp_path / "base")
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"LlamaForCausalLM needs weights that are not there: model.norm.weight"):
        load_policy(folder, tokenizer())


def test_the_class_is_made_once_of_stock_parts() -> None:
    config = AutoConfig.for_model("olmoe", **{"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2})
    made = classifier_class(config)
    assert made is classifier_class(config)
    assert made.__name__ == "OlmoeForSequenceClassification" and issubclass(made, GenericForSequenceClassification)


def test_a_trunk_without_a_cache_is_refused() -> None:
    noticed = ""
    try:
        classifier_class(configuration("mamba"))
    except ValueError as error:
        noticed = str(error)
    assert "mamba gives no cache beside its states" in noticed


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("ctrl", "CTRLForSequenceClassification has no linear `score` head"),
        ("whisper", "no classifier for the family 'whisper', and no trunk that a score head could stand on"),
    ],
)
def test_families_without_a_place_for_a_head_are_refused_by_name(family: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=reason):
        load_reward_model(base(family, tmp_path), tokenizer())


def test_a_family_with_further_tables_of_its_vocabulary_cannot_be_given_a_row_for_padding(tmp_path: Path) -> None:
    folder = base("deepseek_v4", tmp_path / "small")
    with pytest.raises(
        ValueError, match=r"deepseek_v4 cannot be given rows for all 33 tokens.* name a padding token of"
    ):
        load_policy(folder, tokenizer())
    load_policy(base("deepseek_v4", tmp_path / "large", vocab_size=33), tokenizer())
