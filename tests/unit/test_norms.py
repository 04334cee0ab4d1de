"""Lean norms against the plain formula of `transformers`, numerical gradients, and what they keep for backward."""

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import GemmaConfig, GemmaForCausalLM, Qwen3Config, Qwen3ForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from rlhf_core.norms import rms_norm, use_lean_norms

SHAPE = {
    "vocab_size": 16,
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 4,
}


def kept_elements(norm: nn.Module, states: Tensor) -> int:
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda item: kept.append(item.numel()) or item, lambda item: item):  # type: ignore[func-returns-value]
        norm(states)
    return sum(kept)


def test_values_and_gradients_are_those_of_transformers() -> None:
    torch.manual_seed(0)
    plain = LlamaRMSNorm(12, eps=1e-5)
    nn.init.normal_(plain.weight)
    states = torch.randn(2, 5, 12, requires_grad=True)
    towards = torch.randn(2, 5, 12)
    expected = torch.autograd.grad(plain(states), (states, plain.weight), towards)
    found = torch.autograd.grad(rms_norm(states, plain.weight, 1e-5), (states, plain.weight), towards)
    torch.testing.assert_close(rms_norm(states, plain.weight, 1e-5), plain(states))
    torch.testing.assert_close(found, expected)


def test_gradients_are_those_of_finite_differences() -> None:
    states = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *inputs: rms_norm(*inputs, 1e-6), (states, weight))


def test_a_model_stays_the_same_function_and_keeps_less(tmp_path: Path) -> None:
    model, ids = Qwen3ForCausalLM(Qwen3Config(**SHAPE)), torch.arange(8)[None]
    norm, states = model.model.norm, torch.randn(64, 8, requires_grad=True)
    logits, kept = model(ids).logits, kept_elements(norm, states)
    use_lean_norms(model)
    torch.testing.assert_close(model(ids).logits, logits)
    assert kept_elements(norm, states) < 0.5 * kept
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(Qwen3ForCausalLM.from_pretrained(tmp_path)(ids).logits, logits)


def test_a_norm_that_is_another_function_is_left_alone() -> None:
    model = GemmaForCausalLM(GemmaConfig(**SHAPE))  # scales by 1 + weight
    before = model(torch.arange(8)[None]).logits
    use_lean_norms(model)
    torch.testing.assert_close(model(torch.arange(8)[None]).logits, before, rtol=0, atol=0)
