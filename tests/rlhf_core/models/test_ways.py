"""Ways of computing a model: families whose attention is particular say what stock `transformers` says, or are refused.

`python -m benchmarks.families` tries every family; here is one for each thing that may go wrong.
"""

import copy
import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AttentionInterface, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase, T5Config
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from benchmarks.families.configurations import FAMILIES, NOT_BUILT, WINDOW, configuration
from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.data.packing import lay
from rlhf_core.data.tokenizer import Tree
from rlhf_core.generation.continuous_batching import draw_continuously
from rlhf_core.generation.decoding import DrawRequest, draw_by_graphs, draw_eagerly
from rlhf_core.models.attention import RAGGED, RowError, ragged_attention, ragged_states, use_ragged_attention
from rlhf_core.models.compilation import fuse, recompute
from rlhf_core.models.fitness import UNFIT
from rlhf_core.models.forward import response_logprobs
from rlhf_core.models.loading import load_policy, load_reward_model
from rlhf_core.models.logits import logit_scale, logits_of, state_logprobs
from rlhf_core.models.padding import padded_states
from rlhf_core.models.trial import BEYOND, Trial, trial_tokens
from rlhf_core.models.trunk import Way, settle, trunk, way_of
from rlhf_core.models.visibility import Visibility
from rlhf_core.models.ways import choose_way

CPU = torch.device("cpu")
TREES = [
    Tree([3, 9, 4, 30, 7, 12, 5, 8, 21], [[6, 14, 3, 3, 28, 9], [22, 5, 17]]),
    Tree([11], [[2, 19]]),
    Tree([4, 4], [[25, 13, 6, 31, 2, 9, 18, 27, 7, 10]]),
]
PROMPTS = [TREES[0].prompt, TREES[1].prompt, [5, 6, 7, 8, 9]]
NO_CACHE = {"nemotron_h", "openai-gpt"}
WAYS = {
    "phimoe": "",  # a window that only the mask carries
    "qwen2_moe": "",
    "cohere2": "",  # scaled logits, a window in one layer
    "gemma2": "",  # capped scores and logits
    "granite": "",
    "falcon_h1": "responses in one row would see each other",  # scaled logits, attention beside a state
    "llama4_text": "",  # chunks
    "modernbert-decoder": "",  # logits that no linear head makes
    "gpt_oss": "attention sinks",
    "inkling_text": "biases by position",
    "bloom": "does not go through the attention interface",
    "falcon": "does not go through the attention interface",
    "gpt_neo": "does not go through the attention interface",  # a window of its own
    "openai-gpt": "does not go through the attention interface",  # no cache
    "deepseek_v32": "does not go through the attention interface",  # chosen keys
    "stablelm": "responses in one row would see each other",
    "nemotron": "responses in one row would see each other",
    "qwen3_next": "responses in one row would see each other",  # states instead of keys
    "qwen3_5_text": "responses in one row would see each other",
    "lfm2": "responses in one row would see each other",
    "recurrent_gemma": "responses in one row would see each other",
    "mamba": "responses in one row would see each other",
    "nemotron_h": "responses in one row would see each other",  # its cache is off by 1e-4
}
"""What each family says why it takes no rows; nothing where it takes them."""


def build(family: str, **changes: object) -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(configuration(family, **changes)).eval()


def stock_logprobs(model: PreTrainedModel, prompt: list[int], response: list[int], heat: float) -> Tensor:
    """Of a sequence alone, by the logits that the stock model gives."""
    logits = model(input_ids=torch.tensor([prompt + response]), use_cache=False).logits[0, len(prompt) - 1 : -1]
    return (logits / heat).log_softmax(dim=-1).gather(1, torch.tensor(response)[:, None])[:, 0]


def all_stock_logprobs(model: PreTrainedModel, heat: float) -> Tensor:
    pairs = [(tree.prompt, response) for tree in TREES for response in tree.responses]
    return torch.cat([stock_logprobs(model, *pair, heat) for pair in pairs])


def gradients(model: PreTrainedModel, logprobs: Tensor) -> dict[str, Tensor]:
    logprobs.square().sum().backward()
    return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


def request(temperature: float = 0.8) -> DrawRequest:
    chance = torch.rand((len(PROMPTS), 8), dtype=torch.double, generator=torch.Generator().manual_seed(1))
    return DrawRequest(PROMPTS, chance, stops=[1, 2, 3, 4], temperature=temperature, max_tokens=4096)


@pytest.mark.parametrize("family", WAYS)
def test_a_family_says_what_stock_transformers_says(family: str) -> None:
    model = build(family)
    stock = copy.deepcopy(model)
    choose_way(model)
    way = way_of(model)
    assert way.rows is (WAYS[family] == "")
    assert WAYS[family] in way.reason
    assert way.cached is (family not in NO_CACHE)
    logprobs, entropies = response_logprobs(model, lay(TREES, CPU), sampling_temperature=0.7)
    expected = all_stock_logprobs(stock, 0.7)
    torch.testing.assert_close(logprobs, expected, rtol=0, atol=2e-5)
    assert bool((entropies > 0).all())
    ours, theirs = gradients(model, logprobs), gradients(stock, expected)
    largest = max(float(gradient.abs().max()) for gradient in theirs.values())
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=0, atol=2e-5 * largest)
    with torch.inference_mode():
        for prompt, drawn in zip(PROMPTS, draw_eagerly(model, request()), strict=True):
            told = stock_logprobs(stock, prompt, drawn.ids, 0.8)
            torch.testing.assert_close(torch.tensor(drawn.logprobs), told, rtol=0, atol=2e-4)


@torch.inference_mode()
def test_what_is_drawn_does_not_depend_on_the_way() -> None:
    model, padded = build("llama"), build("llama")
    choose_way(model)
    expected = draw_eagerly(model, request())
    assert {len(drawn.ids) for drawn in expected} != {8}  # or no end was drawn
    for cached in (True, False):
        settle(padded, Way(rows=False, cached=cached))
        for draw in (draw_eagerly, draw_by_graphs):
            for mine, theirs in zip(draw(padded, request()), expected, strict=True):
                assert mine.ids == theirs.ids
                assert mine.logprobs == pytest.approx(theirs.logprobs, abs=1e-5)


def test_a_prompt_is_written_before_it_is_answered() -> None:
    model = build("llama")
    settle(model, Way(rows=False))
    drawn = draw_eagerly(model, request())
    for prompt, one in zip(PROMPTS, drawn, strict=True):
        told = stock_logprobs(model, prompt, one.ids, 0.8)
        assert torch.allclose(torch.tensor(one.logprobs), told, atol=1e-5)


def test_padded_states_are_those_of_a_row() -> None:
    model = build("llama")
    alone = padded_states(model, lay(TREES, CPU))
    use_ragged_attention(model)
    assert torch.allclose(alone, ragged_states(model, lay(TREES, CPU)), atol=1e-5)


# What is tried


def forgetful(module: object, *states: Tensor, **options: object) -> object:
    """Attention that sees past any window."""
    return ragged_attention(module, *states[:3], None, **options)  # type: ignore[arg-type]


def test_a_trial_sees_beyond_a_window() -> None:
    model = build("mistral", sliding_window=30, max_position_embeddings=128)
    assert trial_tokens(model) == 30 + BEYOND
    assert len(Trial(model).sequences[0]) == 30 + BEYOND
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(AttentionInterface._global_mapping, RAGGED, forgetful)
        refused = False
        try:
            use_ragged_attention(model, Trial(model))
        except RowError:
            refused = True
    assert refused


def test_a_window_that_costs_too_much_is_not_tried_but_honoured() -> None:
    model = build("phimoe", sliding_window=5000, max_position_embeddings=9000)
    assert trial_tokens(model) == 20
    choose_way(model)
    assert way_of(model) == Way()
    tree = Tree([3] * 3, [[4] * 4])
    model.model.config.sliding_window = WINDOW
    stock = copy.deepcopy(model)
    stock.set_attn_implementation("sdpa")
    expected = stock_logprobs(stock, tree.prompt, tree.responses[0], 1.0)
    torch.testing.assert_close(response_logprobs(model, lay([tree], CPU))[0], expected, rtol=0, atol=2e-5)


def test_a_window_matters_wherever_it_is_said() -> None:
    """Or what is said above of windows would hold without them."""
    for family in ("phimoe", "qwen2_moe", "mistral", "cohere2"):
        narrow, wide = build(family), build(family, sliding_window=60)
        wide.load_state_dict(narrow.state_dict())
        for model in (narrow, wide):
            choose_way(model)
        gap = response_logprobs(narrow, lay(TREES, CPU))[0] - response_logprobs(wide, lay(TREES, CPU))[0]
        assert float(gap.detach().abs().max()) > 0.1


def test_a_rule_is_taken_from_the_mask() -> None:
    def nearest(batch: int, head: int, queries: Tensor, keys: Tensor) -> Tensor:
        return (keys <= queries) & (keys > queries - 2)

    row = lay([Tree([3, 4], [[5, 6], [7]]), Tree([8], [])], CPU)
    rule = Visibility(mask_function=nearest, local_size=2)
    expected = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 1, 1, 0], [0, 1, 0, 0, 1]]
    first, second = rule.masks(row)
    assert first is not None
    assert first.int().tolist() == expected  # the second response stands after the prompt
    assert second is None
    assert [rule.hides(longest) for longest in (2, 3)] == [False, True]
    assert rule.is_window(2, 3)
    assert not rule.is_window(None, 3)
    assert rule.is_window(None, 2)
    chunk = Visibility(mask_function=nearest)
    assert not chunk.is_window(None, 3)  # no window says that


def test_logits_are_scaled_before_they_are_capped() -> None:
    model = build("granite", logits_scaling=4.0)
    model.config.final_logit_softcapping = 0.5
    states, targets = torch.randn(5, 16, generator=torch.Generator().manual_seed(2)), torch.tensor([1, 2, 3, 4, 5])
    logits = 0.5 * torch.tanh(states @ model.lm_head.weight.T / 4.0 / 0.5)
    assert torch.allclose(logits_of(model, states), logits, atol=1e-6)
    expected = (logits / 0.7).log_softmax(dim=-1)
    logprobs, entropies = state_logprobs(model, states, targets, sampling_temperature=0.7)
    assert torch.allclose(logprobs, expected.gather(1, targets[:, None])[:, 0], atol=1e-5)
    assert torch.allclose(entropies, -(expected.exp() * expected).sum(dim=-1), atol=1e-5)


def test_scales_are_those_of_the_configuration() -> None:
    scales = {"cohere": 0.25, "granite": 0.25, "falcon_h1": 0.5, "inkling_text": 0.5, "minicpm3": 16.0, "llama": 1.0}
    assert {family: logit_scale(configuration(family)) for family in scales} == scales


def test_a_way_stays_with_the_trunk() -> None:
    model = build("gpt_oss")
    choose_way(model)
    assert not way_of(copy.deepcopy(model)).rows
    assert trunk(build("llama4_text")) is not None


# What is refused, and what falls back


def saved(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> Path:
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("load", [load_policy, load_reward_model])
def test_an_encoder_decoder_is_refused_in_plain_words(
    load: object, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    T5Config().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"t5 is an encoder-decoder model; RLHF Ladder trains causal language models"):
        load(tmp_path, tokenizer)  # type: ignore[operator]


@pytest.mark.parametrize("family", UNFIT)
def test_a_family_that_nothing_could_be_trained_of_is_refused(
    family: str, tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    configuration(family).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"{family} .*; RLHF Ladder trains causal language models"):
        load_policy(tmp_path, tokenizer)


def test_a_model_that_reads_in_both_directions_is_refused() -> None:
    with pytest.raises(ValueError, match=r"BertLMHeadModel says something else of a text when more of it follows"):
        choose_way(build("bert", is_decoder=False))


def test_a_text_beyond_the_window_in_which_a_family_is_causal_is_refused() -> None:
    model = build("doge", keep_window_size=14)
    choose_way(model)
    response_logprobs(model, lay(TREES[2:], CPU))
    with pytest.raises(ValueError, match=r"has 15 tokens, and beyond 14 what this doge says depends on what else"):
        response_logprobs(model, lay(TREES[:1], CPU))


def test_numbers_that_are_none_are_refused() -> None:
    model = build("llama")
    with torch.no_grad():
        model.model.norm.weight[0] = torch.nan
    with pytest.raises(ValueError, match=r"gives numbers that are not finite \(NaN or infinite\)"):
        choose_way(model)
    model = build("llama")
    with torch.no_grad():
        model.lm_head.weight[3] = torch.inf
    with pytest.raises(ValueError, match=r"the model's logits are not finite .*: its weights are damaged"):
        choose_way(model)


def test_a_padded_way_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        choose_way(build("gpt_oss"))
    assert caplog.messages == [
        "GptOssForCausalLM is computed with padding, which is slower, because its attention has attention sinks"
    ]


def test_what_needs_rows_is_refused_without_them() -> None:
    model = build("gpt_oss")
    choose_way(model)
    with pytest.raises(ValueError, match=r"optimiser\.compiled: .* because its attention has attention sinks"):
        fuse(model, OptimiserConfig(lr=0.1, compiled=True))
    with pytest.raises(ValueError, match=r"sampling\.engine continuous .* attention sinks: set it to eager"):
        draw_continuously(model, request())


def test_checkpointed_layers_of_a_padded_model_have_the_same_gradients() -> None:
    model, other = build("qwen3_next"), build("qwen3_next")
    for one in (model, other):
        choose_way(one)
    recompute(other, OptimiserConfig(lr=0.1, gradient_checkpointing=True))
    expected = gradients(model, response_logprobs(model, lay(TREES, CPU))[0])
    for name, gradient in gradients(other, response_logprobs(other, lay(TREES, CPU))[0]).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-4)


def test_every_family_of_transformers_has_a_configuration_or_a_reason() -> None:
    assert {*FAMILIES, *NOT_BUILT} == {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES}
    assert {*WAYS, *UNFIT} <= {*FAMILIES}
