"""Compiled layers: the figures and gradients of those that run as they are, from one compilation for all rows."""

import copy
import shutil
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from rlhf_core.config.adapter import AdapterConfig
from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.data.packing import lay
from rlhf_core.data.tokenizer import Tree
from rlhf_core.generation.decoding import DrawRequest, draw_eagerly
from rlhf_core.models.attention import use_ragged_attention
from rlhf_core.models.compilation import fuse
from rlhf_core.models.forward import response_logprobs
from rlhf_core.models.lora import add_adapter
from rlhf_core.models.precision import to_device

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler for kernels")]
SHAPE = {"vocab_size": 12, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 4}
SHAPES = {
    "gpt2": {"vocab_size": 12, "n_embd": 16, "n_layer": 3, "n_head": 4, "n_positions": 32, "initializer_range": 0.4},
    "qwen2": SHAPE | {"intermediate_size": 24, "num_key_value_heads": 2, "initializer_range": 0.4},
}
ROWS = [
    [Tree([3, 5, 6, 7], [[4, 8, 9, 2, 10, 11]]), Tree([7], [[3]])],
    [Tree([3, 5], [[4, 8], [9, 9, 7, 2], [6]])],
    [Tree([4, 6, 8], [[6, 5], [2, 2, 2]]), Tree([3], [[5]]), Tree([9, 9], [[1, 1, 1, 1, 1]])],
]
COMPILED = OptimiserConfig(compiled=True)


@pytest.fixture(autouse=True)
def _nothing_compiled() -> Iterator[None]:
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


def build(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    config = AutoConfig.for_model(name, **SHAPES[name], pad_token_id=0, bos_token_id=1, eos_token_id=2)
    model = to_device(AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval())
    use_ragged_attention(model)
    return model


def read(model: PreTrainedModel, trees: list[Tree]) -> list[Tensor]:
    """Log-probabilities of a row, and gradients of their sum."""
    model.zero_grad()
    logprobs, _ = response_logprobs(model, lay(trees, model.device))
    logprobs.sum().backward()
    return [logprobs.detach(), *(weight.grad for weight in model.parameters() if weight.grad is not None)]


@pytest.mark.parametrize("name", SHAPES)
def test_rows_of_any_size_give_what_they_give_uncompiled(name: str) -> None:
    plain = build(name)
    fused = fuse(copy.deepcopy(plain), COMPILED)
    graphs = []
    for trees in ROWS:
        for found, expected in zip(read(fused, trees), read(plain, trees), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        graphs.append(counters["stats"]["unique_graphs"])
    assert 0 < graphs[-1] <= 2 * graphs[0]  # all layers share them, and a row of another size adds them once at most


def test_sampling_runs_as_it_is() -> None:
    plain = build("qwen2")
    fused = fuse(copy.deepcopy(plain), COMPILED)
    chance = torch.rand((2, 6), dtype=torch.double, generator=torch.Generator().manual_seed(0))
    request = DrawRequest([[3, 4, 5], [6]], chance, stops=[2], temperature=1.0, max_tokens=64)
    with torch.inference_mode():
        found, expected = (draw_eagerly(model, request) for model in (fused, plain))
    assert found == expected
    assert not counters["stats"]["unique_graphs"]


@pytest.mark.parametrize("name", SHAPES)
def test_layers_with_adapters_are_compiled_too(name: str) -> None:
    plain = build(name)
    add_adapter(plain, AdapterConfig(rank=2), seed=0)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in plain.parameters():
            if weight.requires_grad:
                torch.nn.init.normal_(weight, std=0.3)
    fused = fuse(copy.deepcopy(plain), COMPILED)
    for trees in ROWS:
        for found, expected in zip(read(fused, trees), read(plain, trees), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert counters["stats"]["unique_graphs"] > 0
