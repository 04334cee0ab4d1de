"""Engines of decoding: the same draws by recorded steps, the same distribution by continuous batching."""

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from rlhf_core.data.packing import lay
from rlhf_core.data.tokenizer import Tree
from rlhf_core.generation import decoding
from rlhf_core.generation.continuous_batching import draw_continuously
from rlhf_core.generation.decoding import Draw, DrawRequest, Engine, draw_by_graphs, draw_eagerly
from rlhf_core.models.attention import RAGGED, use_ragged_attention
from rlhf_core.models.forward import response_logprobs
from rlhf_core.models.kv_cache import FixedKVCache, Memory, power_of_two
from rlhf_core.models.precision import to_device

STOPS, TEMPERATURE, LIMIT = (2, 7), 0.8, 24
SMALL = {"vocab_size": 12, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED = SMALL | {"intermediate_size": 24, "num_key_value_heads": 2, "head_dim": 4, "initializer_range": 0.4}
ARCHITECTURES = {
    "gpt2": {"vocab_size": 12, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64, "initializer_range": 0.4},
    "llama": GROUPED,
    "mistral": GROUPED | {"sliding_window": 3},
    "gemma": GROUPED,
    "gemma2": GROUPED | {"sliding_window": 3, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
    "gemma3_text": GROUPED | {"sliding_window": 3},
    "gpt_neox": SMALL | {"intermediate_size": 24, "initializer_range": 0.4},
    "opt": SMALL | {"ffn_dim": 24, "word_embed_proj_dim": 16, "init_std": 0.4, "max_position_embeddings": 64},
    "phi": SMALL | {"intermediate_size": 24, "initializer_range": 0.4},
    "qwen2": GROUPED,
    "qwen3": GROUPED,
}
FAST = ("gpt2", "llama")
NAMES = [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in ARCHITECTURES]


def build(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    config = AutoConfig.for_model(name, **ARCHITECTURES[name], pad_token_id=0, bos_token_id=1, eos_token_id=STOPS[0])
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    to_device(model)
    use_ragged_attention(model)
    return model


@torch.inference_mode()
def drawn(engine: Engine, model: PreTrainedModel, *, seed: int = 3) -> list[Draw]:
    """Of 30 prompts of 1 to 15 tokens, in groups that need slots of 32 and of 64 tokens, one of 16 slots at once."""
    generator = torch.Generator().manual_seed(seed)
    prompts = [[3 + (index + token) % 9 for token in range(1 + index % 15)] for index in range(30)]
    chance = torch.rand((30, LIMIT), dtype=torch.double, generator=generator)
    return engine(model, DrawRequest(prompts, chance, STOPS, TEMPERATURE, max_tokens=150))


def forced(model: PreTrainedModel, responses: list[Draw]) -> Tensor:
    """Log-probabilities of the responses of `drawn` by the trainer's forward over whole rows."""
    prompts = [[3 + (index + token) % 9 for token in range(1 + index % 15)] for index in range(30)]
    row = lay([Tree(prompt, [one.ids]) for prompt, one in zip(prompts, responses, strict=True)], model.device)
    return response_logprobs(model, row, sampling_temperature=TEMPERATURE)[0].detach().cpu()


def flat(responses: list[Draw]) -> Tensor:
    return torch.tensor([nats for one in responses for nats in one.logprobs])


@pytest.mark.parametrize("name", NAMES)
def test_slots_that_stay_where_they_are_draw_what_eager_ones_draw(name: str) -> None:
    """On CUDA its steps are recorded and replayed, too."""
    model = build(name)
    expected, found = drawn(draw_eagerly, model), drawn(draw_by_graphs, model)
    assert [one.ids for one in found] == [one.ids for one in expected]
    torch.testing.assert_close(flat(found), flat(expected), rtol=1e-5, atol=1e-5)
    assert len({len(one.ids) for one in found}) > 2  # slots were given up at different times
    assert not any(set(STOPS) & set(one.ids[:-1]) for one in found)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs are of CUDA")
@pytest.mark.parametrize("half", [False, True])
def test_a_recorded_step_follows_the_weights(half: bool) -> None:
    model = build("llama")
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=half):
        drawn(draw_by_graphs, model)
        with torch.no_grad():
            model.get_output_embeddings().weight.neg_()
        expected, found = drawn(draw_eagerly, model), drawn(draw_by_graphs, model)
    assert [one.ids for one in found] == [one.ids for one in expected]
    torch.testing.assert_close(flat(found), flat(expected), rtol=1e-2, atol=1e-2 if half else 1e-5)


class Replay:
    """Stands in for a graph on a processor: the same step over the same tensors, and nothing else is looked at."""

    def __init__(self, take: Callable[[], tuple[Tensor, Tensor]], drawn: Tensor, logprobs: Tensor) -> None:
        self.take, self.drawn, self.logprobs = take, drawn, logprobs

    def replay(self) -> None:
        for index, value in zip((self.drawn, self.logprobs), self.take(), strict=True):
            index.copy_(value)


def test_steps_are_recorded_once_and_replayed_where_they_were_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    records = []

    def record(
        model: PreTrainedModel, tokens: Tensor, chance: Tensor, cache: FixedKVCache, temperature: float
    ) -> decoding.Recording:
        held = copy.copy(cache)  # the tensors of the moment, which are all that a graph knows
        inputs = tokens.clone(), chance.clone()
        outputs = torch.empty_like(tokens), torch.empty(len(tokens))
        replay = Replay(lambda: decoding._step(model, *inputs, held, temperature), *outputs)
        records.append(cache.shapes)
        return decoding.Recording(replay, *inputs, *outputs)

    monkeypatch.setattr(decoding, "_record", record)
    monkeypatch.setattr(decoding, "_step_of", lambda kind: decoding._replayed)
    model = build("llama")
    for _ in range(3):
        assert [one.ids for one in drawn(draw_by_graphs, model)] == [one.ids for one in drawn(draw_eagerly, model)]
        seen = len(records)
        records.append("drawn")
    assert records.count("drawn") == 3
    assert records[-2:] == ["drawn", "drawn"]  # memory had grown in the first round; the third needed no recording
    assert 1 < len(set(records)) - 1 < seen
    weight = model.get_output_embeddings().weight
    weight.data = weight.data.clone()
    drawn(draw_by_graphs, model)
    assert records[-1] != "drawn"  # what read the old place is of no use


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
    assert {one.ids[-1] for one in found} >= set(STOPS)
    for one in found:
        assert not set(STOPS) & set(one.ids[:-1])
        assert one.ids[-1] in STOPS or len(one.ids) == LIMIT


def test_continuous_batching_leaves_the_model_as_it_was_and_follows_its_seed() -> None:
    model = build("llama")
    first, again, other = (drawn(draw_continuously, model, seed=seed) for seed in (1, 1, 2))
    assert model.config._attn_implementation == RAGGED
    assert first == again != other


def test_continuous_batching_draws_tokens_as_often_as_they_are_likely() -> None:
    model, prompt = build("llama"), [3, 4, 5]
    chance = torch.rand((1500, 1), dtype=torch.double, generator=torch.Generator().manual_seed(0))
    found = draw_continuously(model, DrawRequest([prompt] * 1500, chance, STOPS, TEMPERATURE, max_tokens=512))
    with torch.no_grad():
        likely = (
            (model(input_ids=torch.tensor([prompt], device=model.device)).logits[0, -1] / TEMPERATURE)
            .softmax(-1)
            .double()
            .cpu()
        )
    counts = torch.bincount(torch.tensor([one.ids[0] for one in found]), minlength=12)
    assert chisquare(counts.numpy(), 1500 * (likely / likely.sum()).numpy()).pvalue > 0.01


def test_continuous_batching_works_in_the_precision_of_its_caller() -> None:
    model = build("llama")
    with torch.autocast(model.device.type, dtype=torch.bfloat16):
        found = drawn(draw_continuously, model)
    assert model.dtype == torch.float32
    assert 1e-4 < float((flat(found) - forced(model, found)).abs().mean()) < 0.25


@pytest.mark.skipif(torch.cuda.is_available(), reason="a position out of range ends the whole process on CUDA")
def test_continuous_batching_that_gives_up_is_an_error() -> None:
    model, chance = build("gpt2"), torch.rand((1, 80), dtype=torch.double)  # it has 64 positions
    with pytest.raises(RuntimeError, match=r"of 1 responses.*set sampling.engine to eager"):
        draw_continuously(model, DrawRequest([[3] * 50], chance, stops=[-1], temperature=1.0, max_tokens=64))
