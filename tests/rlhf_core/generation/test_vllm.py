"""vLLM as an engine: what can be said without it, and what it draws where it is installed."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.generation.rollout import roll_out
from rlhf_core.models.loading import load_policy

PROMPTS = ["how are you", "fine", "you are fine thanks", "thanks", "how", "are you fine"] * 4
VLLM = SamplingConfig(temperature=0.8, max_prompt_tokens=8, max_response_tokens=12, engine="vllm")


@pytest.fixture
def policy_folder(tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> Path:
    """A Llama with heads of 64, which the kernels of vLLM need."""
    torch.manual_seed(0)
    shape = {"hidden_size": 128, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=64, initializer_range=0.2, **shape)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    return tmp_path


def test_several_ranks_are_refused(
    policy_folder: Path, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlhf_core.generation.vllm.ranks", lambda: 2)
    with pytest.raises(ValueError, match="vllm serves one process, this stage has 2"):
        roll_out(load_policy(policy_folder, tokenizer), tokenizer, PROMPTS, VLLM, OptimiserConfig(), seed=1)


@pytest.mark.skipif(find_spec("vllm") is not None, reason="vLLM is installed")
def test_where_it_is_not_installed_the_mend_is_named(policy_folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    with pytest.raises(ValueError, match=r"needs the package vllm.*take another engine"):
        roll_out(load_policy(policy_folder, tokenizer), tokenizer, PROMPTS, VLLM, OptimiserConfig(), seed=1)


@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
def test_it_draws_from_the_policy_as_it_is_after_every_update(
    policy_folder: Path, tokenizer: PreTrainedTokenizerBase
) -> None:
    policy = load_policy(policy_folder, tokenizer)
    rolled = []
    for seed in (1, 1, 2):
        _, sampled, gap = roll_out(policy, tokenizer, PROMPTS, VLLM, OptimiserConfig(), seed=seed)
        assert 0.0 < gap["rollout_logprob_gap_nats"] <= gap["rollout_logprob_gap_nats_max"] < 1e-3
        assert {one.finished for one in sampled} == {True, False}
        for one in sampled:
            assert tokenizer.eos_token_id not in one.response_ids[:-1]
            assert one.finished or len(one.response_ids) == VLLM.max_response_tokens
        rolled.append(sampled)
    assert [one.response_ids for one in rolled[0]] == [one.response_ids for one in rolled[1]]
    assert [one.response_ids for one in rolled[0]] != [one.response_ids for one in rolled[2]]
    with torch.no_grad():
        for weight in policy.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    _, _, gap = roll_out(policy, tokenizer, PROMPTS, VLLM, OptimiserConfig(), seed=1)
    assert gap["rollout_logprob_gap_nats_max"] < 1e-3
