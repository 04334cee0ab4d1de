"""Rows without padding, prompts shared, against the padded forward of the untouched model, for many architectures."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM, PreTrainedModel

from rlhf_core.data.packing import Row, lay
from rlhf_core.data.tokenizer import Tree
from rlhf_core.models import flash_attention
from rlhf_core.models.attention import RAGGED, next_states, ragged_attention, ragged_states, use_ragged_attention
from rlhf_core.models.flash_attention import row_attention
from rlhf_core.models.kv_cache import KVCache

CPU = torch.device("cpu")
TREES = [
    Tree([3, 5, 6, 7], [[4, 8, 9, 2, 10, 11]]),
    Tree([3, 5], [[4, 8], [9, 9, 7, 2], [6]]),
    Tree([7], [[3]]),
    Tree([3, 7, 4, 6, 8], [[6, 5], [2, 2, 2]]),
]
SMALL = {"vocab_size": 12, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED = SMALL | {"intermediate_size": 24, "num_key_value_heads": 2, "initializer_range": 0.4}
ARCHITECTURES = {
    "gpt2": {"vocab_size": 12, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 32, "initializer_range": 0.4},
    "gpt_neox": SMALL | {"intermediate_size": 24, "initializer_range": 0.4},
    "llama": GROUPED,
    "mistral": GROUPED | {"sliding_window": 3, "head_dim": 4},
    "opt": SMALL | {"ffn_dim": 24, "word_embed_proj_dim": 16, "init_std": 0.4, "max_position_embeddings": 32},
    "phi": SMALL | {"intermediate_size": 24, "initializer_range": 0.4},
    "qwen2": GROUPED,
    "qwen3": GROUPED | {"head_dim": 4},
}


def build(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    config = AutoConfig.for_model(name, **ARCHITECTURES[name], pad_token_id=0, bos_token_id=1, eos_token_id=2)
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()


def padded(model: PreTrainedModel) -> Tensor:
    """States as in a row, by the model as `transformers` made it: each response after its own copy of the prompt."""
    whole = [tree.prompt + response for tree in TREES for response in tree.responses]
    ids = pad_sequence([torch.tensor(sequence) for sequence in whole], batch_first=True)
    mask = pad_sequence([torch.ones(len(sequence), dtype=torch.long) for sequence in whole], batch_first=True)
    states = iter(model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state)
    found = []
    for tree in TREES:
        rows = [next(states)[: len(tree.prompt) + len(response)] for response in tree.responses]
        found += [rows[0], *(row[len(tree.prompt) :] for row in rows[1:])]
    return torch.cat(found)


def ragged(model: PreTrainedModel) -> Tensor:
    return ragged_states(model, lay(TREES, CPU))


def gradients(model: PreTrainedModel, states: Tensor) -> dict[str, Tensor]:
    weights = torch.randn(states.shape, generator=torch.Generator().manual_seed(1))
    model.zero_grad()
    (states * weights).sum().backward()
    return {name: item.grad.clone() for name, item in model.base_model.named_parameters() if item.grad is not None}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_states_and_gradients_equal_those_of_the_padded_forward(name: str) -> None:
    model = build(name)
    expected = padded(model)
    expected_gradients = gradients(model, expected)
    use_ragged_attention(model)
    found = ragged(model)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    found_gradients = gradients(model, found)
    assert found_gradients.keys() == expected_gradients.keys()
    for parameter, gradient in expected_gradients.items():
        torch.testing.assert_close(found_gradients[parameter], gradient, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ARCHITECTURES)
@torch.inference_mode()
def test_one_call_for_the_whole_row_gives_the_same_states(
    name: str, monkeypatch: pytest.MonkeyPatch, flash_by_the_book: Callable[..., Tensor]
) -> None:
    model, layers = build(name), []
    use_ragged_attention(model)
    expected = ragged(model)

    def at_once(layer: object, *states: Tensor, row: Row, **options: object) -> tuple[Tensor, None]:
        layers.append(layer)
        return row_attention(*states[:3], row, **options), None

    monkeypatch.setitem(AttentionInterface._global_mapping, RAGGED, at_once)
    monkeypatch.setattr(flash_attention, "varlen_attn", flash_by_the_book)
    torch.testing.assert_close(ragged(model), expected, rtol=1e-5, atol=1e-5)
    assert len(layers) == 2


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_token_by_token_gives_the_states_of_the_whole(name: str) -> None:
    model = build(name)
    use_ragged_attention(model)
    whole = [tree.prompt + tree.responses[0] for tree in TREES]
    starts = [3, 1, 1, 5]
    expected = ragged_states(model, lay([Tree(ids, []) for ids in whole], CPU)).split([len(ids) for ids in whole])
    cache = KVCache(starts, room=9, device=CPU)
    prompts = [Tree(ids[:start], []) for ids, start in zip(whole, starts, strict=True)]
    states = ragged_states(model, lay(prompts, CPU), cache)[cache.lengths.cumsum(0) - 1]
    going = list(range(len(whole)))
    for _ in range(10):
        for state, index, held in zip(states, going, cache.lengths.tolist(), strict=True):
            torch.testing.assert_close(state, expected[index][held - 1], rtol=1e-5, atol=1e-5)
        left = [sequence for sequence, index in enumerate(going) if int(cache.lengths[sequence]) < len(whole[index])]
        if not left:
            break
        cache.keep(torch.tensor(left))
        going = [going[sequence] for sequence in left]
        tokens = [whole[index][held] for index, held in zip(going, cache.lengths.tolist(), strict=True)]
        states = next_states(model, torch.tensor(tokens), cache)
    assert going == [0]  # the longest was the last to end


def test_a_response_sees_neither_its_siblings_nor_other_trees() -> None:
    model = build("gpt2")
    use_ragged_attention(model)
    others = [Tree([9, 9, 9, 9], [[9] * 6]), Tree([3, 5], [[9, 9], TREES[1].responses[1], [9]])]
    found, expected = ragged_states(model, lay(others, CPU)), ragged(model)
    torch.testing.assert_close(found[14:18], expected[14:18], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found[12:14], expected[12:14], atol=0.1)  # or the comparison would show nothing


def test_the_saved_configuration_does_not_know_of_it(tmp_path: object) -> None:
    model = build("llama")
    use_ragged_attention(model)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.config._attn_implementation == "sdpa"
    torch.testing.assert_close(padded(again.eval()), ragged(model), rtol=1e-5, atol=1e-5)


def test_a_model_that_was_not_prepared_is_refused() -> None:
    with pytest.raises(ValueError, match="was not prepared"):
        ragged(build("gpt2"))


def test_an_architecture_that_mixes_responses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(*args: object, row: object = None, **options: object) -> object:
        return ragged_attention(*args, row=None, **options)  # type: ignore[arg-type]

    monkeypatch.setitem(__import__("transformers").AttentionInterface._global_mapping, RAGGED, forgetful)
    with pytest.raises(ValueError, match="see each other"):
        use_ragged_attention(build("gpt2"))


def test_an_architecture_that_attends_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def hotter(layer: object, query: Tensor, *states: Tensor, **options: object) -> object:
        return ragged_attention(layer, 2.0 * query, *states, **options)  # type: ignore[arg-type]

    monkeypatch.setitem(AttentionInterface._global_mapping, RAGGED, hotter)
    with pytest.raises(ValueError, match="its attention is another than that of rows"):
        use_ragged_attention(build("gpt2"))
