"""Engines of decoding: the same draws by compiled steps, the same distribution by continuous batching."""

import shutil
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.utils import counters
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from rlhf_core import decoding
from rlhf_core.attention import RAGGED, use_ragged_attention
from rlhf_core.batching import lay
from rlhf_core.continuous import draw_continuously
from rlhf_core.decoding import Draw, Engine, draw_compiled, draw_eagerly
from rlhf_core.models import response_logprobs
from rlhf_core.slots import Memory, power_of_two
from rlhf_core.text import Tree

END, TEMPERATURE, LIMIT = 2, 0.8, 24
SMALL = {"vocab_size": 12, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED = SMALL | {"intermediate_size": 24, "num_key_value_heads": 2, "head_dim": 4, "initializer_range": 0.4}
ARCHITECTURES = {
    "gpt2": {"vocab_size": 12, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64, "initializer_range": 0.4},
    "llama": GROUPED,
    "mistral": GROUPED | {"sliding_window": 3},
    "gemma": GROUPED,
    "gemma3_text": GROUPED | {"sliding_window": 3},
    "gpt_neox": SMALL | {"intermediate_size": 24, "initializer_range": 0.4},
    "opt": SMALL | {"ffn_dim": 24, "word_embed_proj_dim": 16, "init_std": 0.4, "max_position_embeddings": 64},
    "phi": SMALL | {"intermediate_size": 24, "initializer_range": 0.4},
    "qwen2": GROUPED,
    "qwen3": GROUPED,
}
FAST = ("gpt2", "llama")
NAMES = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in ARCHITECTURES]


@pytest.fixture(autouse=True)
def _nothing_compiled() -> Iterator[None]:
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()


def build(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    config = AutoConfig.for_model(name, **ARCHITECTURES[name], pad_token_id=0, bos_token_id=1, eos_token_id=END)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    use_ragged_attention(model)
    return model


@torch.inference_mode()
def drawn(engine: Engine, model: PreTrainedModel, *, seed: int = 3) -> list[Draw]:
    """Of 30 prompts of 1 to 15 tokens, in groups that need slots of 32 and of 64 tokens, one of 16 slots at once."""
    generator = torch.Generator().manual_seed(seed)
    prompts = [[3 + (place + token) % 9 for token in range(1 + place % 15)] for place in range(30)]
    chance = torch.rand((30, LIMIT), dtype=torch.double, generator=generator)
    return engine(model, prompts, chance, end=END, temperature=TEMPERATURE, max_tokens=150)


def forced(model: PreTrainedModel, responses: list[Draw]) -> Tensor:
    """Log-probabilities of the responses of `drawn` by the trainer's forward over whole rows."""
    prompts = [[3 + (place + token) % 9 for token in range(1 + place % 15)] for place in range(30)]
    row = lay([Tree(prompt, [one.ids]) for prompt, one in zip(prompts, responses, strict=True)], model.device)
    return response_logprobs(model, row, sampling_temperature=TEMPERATURE)[0].detach()


def flat(responses: list[Draw]) -> Tensor:
    return torch.tensor([nats for one in responses for nats in one.logprobs])


@pytest.mark.parametrize("name", NAMES)
def test_a_compiled_step_draws_what_the_eager_one_draws(name: str) -> None:
    model = build(name)
    expected, found = drawn(draw_eagerly, model), drawn(draw_compiled, model)
    assert [one.ids for one in found] == [one.ids for one in expected]
    torch.testing.assert_close(flat(found), flat(expected), rtol=1e-5, atol=1e-5)
    assert len({len(one.ids) for one in found}) > 2  # slots were given up at different times


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler for fused kernels")
def test_fused_kernels_draw_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    fused = torch.compile(decoding._step)
    monkeypatch.setattr(decoding, "_compiled_step", lambda kind: fused)
    model = build("llama")
    expected, found = drawn(draw_eagerly, model), drawn(draw_compiled, model)
    assert [one.ids for one in found] == [one.ids for one in expected]
    torch.testing.assert_close(flat(found), flat(expected), rtol=1e-5, atol=1e-5)


def test_one_compiled_step_serves_all_sizes_and_weights() -> None:
    drawn(draw_compiled, build("llama"))
    compiled = counters["stats"]["unique_graphs"]
    assert compiled <= 3  # for the sizes it meets first, then for any number of slots, then for any size of them
    other = build("llama")
    with torch.no_grad():
        other.get_output_embeddings().weight.neg_()
    assert [one.ids for one in drawn(draw_compiled, other)] == [one.ids for one in drawn(draw_eagerly, other)]
    assert counters["stats"]["unique_graphs"] == compiled


def test_whatever_a_compiled_step_writes_to_stays_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA graphs replay on addresses: torch records none of a step that changes an input which may move."""
    steps = []

    def look(graph: torch.fx.GraphModule, _: list[Tensor]) -> torch.fx.GraphModule:
        facts = torch._guards.TracingContext.get().fw_metadata
        steps.append((set(facts.mutated_inp_runtime_indices), set(facts.static_input_indices)))
        return graph

    step = torch.compile(decoding._step, backend=aot_autograd(fw_compiler=look, inference_compiler=look))
    monkeypatch.setattr(decoding, "_compiled_step", lambda kind: step)
    drawn(draw_compiled, build("llama"))
    for written, fixed in steps:
        assert len(written) == 5  # lengths; keys and values of two layers
        assert written <= fixed
    assert steps


def test_a_name_keeps_its_address_while_it_holds_no_more_than_before() -> None:
    memory, large, small = Memory(), torch.arange(24.0).view(2, 3, 4), torch.arange(6.0).view(1, 2, 3)
    address = memory.hold("keys", large).data_ptr()
    held = memory.hold("keys", small)
    assert held.data_ptr() == address
    assert torch.equal(held, small)
    assert memory.hold("values", small).data_ptr() != address


@given(st.integers(1, 10**6))
def test_a_power_of_two_is_the_smallest_that_is_large_enough(count: int) -> None:
    power = power_of_two(count)
    assert power.bit_count() == 1
    assert power // 2 < count <= power


@pytest.mark.parametrize("name", ["gpt2", "llama", "mistral"])
def test_continuous_batching_says_what_the_policy_says_of_its_responses(name: str) -> None:
    model = build(name)
    found = drawn(draw_continuously, model)
    torch.testing.assert_close(flat(found), forced(model, found), rtol=0, atol=1e-4)
    assert {one.ids[-1] == END for one in found} == {True, False}
    for one in found:
        assert END not in one.ids[:-1]
        assert one.ids[-1] == END or len(one.ids) == LIMIT


def test_continuous_batching_leaves_the_model_as_it_was_and_follows_its_seed() -> None:
    model = build("llama")
    first, again, other = (drawn(draw_continuously, model, seed=seed) for seed in (1, 1, 2))
    assert model.config._attn_implementation == RAGGED
    assert first == again != other


def test_continuous_batching_draws_tokens_as_often_as_they_are_likely() -> None:
    model, prompt = build("llama"), [3, 4, 5]
    chance = torch.rand((1500, 1), dtype=torch.double, generator=torch.Generator().manual_seed(0))
    found = draw_continuously(model, [prompt] * 1500, chance, end=END, temperature=TEMPERATURE, max_tokens=512)
    with torch.no_grad():
        likely = (model(input_ids=torch.tensor([prompt])).logits[0, -1] / TEMPERATURE).softmax(-1).double()
    counts = torch.bincount(torch.tensor([one.ids[0] for one in found]), minlength=12)
    assert chisquare(counts.numpy(), 1500 * (likely / likely.sum()).numpy()).pvalue > 0.01


def test_continuous_batching_works_in_the_precision_of_its_caller() -> None:
    model = build("llama")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = drawn(draw_continuously, model)
    assert model.dtype == torch.float32
    assert 1e-4 < float((flat(found) - forced(model, found)).abs().mean()) < 0.25


def test_continuous_batching_that_gives_up_is_an_error() -> None:
    model, chance = build("gpt2"), torch.rand((1, 80), dtype=torch.double)  # it has 64 positions
    with pytest.raises(RuntimeError, match=r"of 1 responses.*set sampling.engine to eager"):
        draw_continuously(model, [[3] * 50], chance, end=-1, temperature=1.0, max_tokens=64)
