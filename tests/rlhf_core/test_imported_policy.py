"""A policy that was trained elsewhere has the figures of one that was trained here, or is refused with what differs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from rlhf_core.config.policy import PolicyConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.data.tokenizer import load_tokenizer
from rlhf_core.evaluators.policy import evaluate_policy
from rlhf_core.imported_policy import import_policy
from rlhf_core.models.heads import TEMPERATURE
from rlhf_core.models.loading import load_policy, load_reward_model, save
from rlhf_core.training.stage import StageResult, finish
from tests.rlhf_core.conftest import WORDS, build_tokenizer

PROMPTS = [f"{first} {second}" for first in ("how", "are", "you") for second in ("fine", "thanks", "you")]
CONFIG = PolicyConfig(sampling=SamplingConfig(max_prompt_tokens=8, max_response_tokens=12), best_of_n=2)


def language_model(seed: int, width: int = 16) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    return LlamaForCausalLM(config)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """SFT model, reward model and judge, as their stages save them."""
    home, tokenizer = tmp_path_factory.mktemp("models"), build_tokenizer()
    language_model(0).save_pretrained(home / "base")
    tokenizer.save_pretrained(home / "base")
    tokenizer = load_tokenizer(str(home / "base"))
    folders = {"sft": save(load_policy(home / "base", tokenizer), tokenizer, home / "sft")}
    for seed, name in enumerate(("reward_model", "judge"), start=1):
        torch.manual_seed(seed)
        scorer = load_reward_model(home / "base", tokenizer)
        setattr(scorer.config, TEMPERATURE, 1.0)
        folders[name] = save(scorer, tokenizer, home / name)
    return folders


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """What another engine wrote: a wider model with the base's tokenizer, whose padding is its end, and a card."""
    folder, tokenizer = tmp_path / "foreign", build_tokenizer()
    language_model(7, width=24).save_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text("# A policy from elsewhere")
    return folder


def take(source: Path, models: dict[str, Path], out: Path, config: PolicyConfig = CONFIG) -> StageResult:
    return finish(import_policy(config, source=source, **models, held_out_prompts=PROMPTS, out=out, seed=3))


def test_it_has_the_figures_of_a_policy_that_is_measured_as_it_lies(
    foreign: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    result = take(foreign, models, tmp_path / "out")
    beside = evaluate_policy(CONFIG, **models, policy=foreign, held_out_prompts=PROMPTS, seed=3).estimates
    assert result.estimates == beside
    assert result.estimates["kl_to_sft_nats"].value > 1 and "best_of_n_judge_gain" in beside
    assert [sample["prompt"] for sample in result.samples] == PROMPTS[1::2]
    copied = result.artifacts["policy"]
    assert (copied / "README.md").read_text() == "# A policy from elsewhere"
    assert AutoTokenizer.from_pretrained(copied).pad_token == "<|pad|>"


def test_the_sft_model_itself_gains_nothing_and_has_not_drifted(models: dict[str, Path], tmp_path: Path) -> None:
    estimates = take(models["sft"], models, tmp_path / "out").estimates
    assert estimates["kl_to_sft_nats"].value == pytest.approx(0.0, abs=1e-5)
    assert estimates["judge_reward_gain"].value == estimates["reward_gain"].value == 0.0
    assert estimates["judge_win_rate"].value == 0.5 and estimates["length_ratio"].value == 1.0


def test_its_precision_stays(foreign: Path, models: dict[str, Path], tmp_path: Path) -> None:
    AutoModelForCausalLM.from_pretrained(foreign, dtype=torch.bfloat16).save_pretrained(foreign)
    take(foreign, models, tmp_path / "out")
    before, after = (load_file(folder / "model.safetensors") for folder in (foreign, tmp_path / "out" / "policy"))
    assert {weight.dtype for weight in after.values()} == {torch.bfloat16}
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


def rewrite(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    return spoil


def retokenize(
    change: Callable[[PreTrainedTokenizerBase], object], words: tuple[str, ...] = WORDS
) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        tokenizer = build_tokenizer(words)
        change(tokenizer)
        tokenizer.save_pretrained(folder)

    return spoil


def stop_at(folder: Path) -> None:
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 9]}))


def grow(folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(64)
    model.save_pretrained(folder)


def end_early(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.eos_token = "<|unk|>"


def write_otherwise(tokenizer: PreTrainedTokenizerBase) -> None:
    tokenizer.chat_template = str(tokenizer.chat_template).replace("<|user|> ", "")


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "a token more": (
        retokenize(lambda tokenizer: tokenizer.add_tokens(["<think>"])),
        r"another vocabulary \(it has more: '<think>'\)\. KL to the SFT model is over tokens",
    ),
    "other words": (
        retokenize(lambda _: None, (*WORDS[:-2], "sad", "sorry")),
        r"another vocabulary \(it has more: 'sad', 'sorry'; it lacks: 'fine', 'thanks'\)",
    ),
    "another order": (
        retokenize(lambda _: None, (*WORDS[:-2], *WORDS[:-3:-1])),
        r"another vocabulary \(it has other ids for: 'fine', 'thanks'\)",
    ),
    "another template": (
        retokenize(write_otherwise),
        r"another chat template: the prompt 'how thanks' begins 'how thanks <\|assistant\|>', where '<\|user\|> how t",
    ),
    "another end": (retokenize(end_early), r"ends an answer with '<\|unk\|>', where '<\|end\|>' is expected"),
    "one more stop": (stop_at, r"end at <\|end\|>, thanks, and those of .* at <\|end\|>; set eos_token_id .* \[2\]"),
    "more rows": (grow, r"has 64 rows, .* SFT model 10, .*resize_token_embeddings\(10\)"),
    "a norm is lost": (rewrite(lambda weights: weights.pop("model.norm.weight")), "not there: model.norm.weight"),
    "NaN": (rewrite(lambda weights: weights["lm_head.weight"][0, 0].fill_(torch.nan)), "not finite .*: lm_head"),
    "an adapter": (lambda folder: (folder / "adapter_config.json").write_text("{}"), "merge_and_unload"),
    "nothing": (shutil.rmtree, "is not there"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_measured_against_the_sft_model_is_refused(
    fault: str, foreign: Path, models: dict[str, Path], tmp_path: Path
) -> None:
    spoil, reason = FAULTS[fault]
    spoil(foreign)
    with pytest.raises(ValueError, match=reason):
        take(foreign, models, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_it_has_the_positions_that_the_lengths_need(foreign: Path, models: dict[str, Path], tmp_path: Path) -> None:
    config = PolicyConfig(sampling=SamplingConfig(max_prompt_tokens=40, max_response_tokens=30))
    with pytest.raises(ValueError, match=r"64 positions, and sampling.max_prompt_tokens 40 and .* 30 need 70"):
        take(foreign, models, tmp_path / "out", config)
