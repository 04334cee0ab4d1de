"""Rows of a vocabulary that are no tokens, and tokens that have no row yet; embeddings that are tied to the head."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from rlhf_core.config.adapter import AdapterConfig
from rlhf_core.config.lengths import Lengths
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.data.packing import lay
from rlhf_core.data.stop_tokens import known_tokens, rows_needed, settle_stops
from rlhf_core.data.tokenizer import Tree, encode, load_tokenizer
from rlhf_core.generation.sampling import sample
from rlhf_core.models.forward import response_logprobs
from rlhf_core.models.loading import load_policy, load_reward_model, save
from rlhf_core.models.logits import logits_of
from rlhf_core.models.lora import add_adapter
from tests.chat_models import PUBLISHED, QUESTION, publish, published_tokenizer

CHAT = PUBLISHED["pad is the end, which ends no turn"]
SPARE = 5
SMALL = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
PROMPTS = [f"{QUESTION} {number}" for number in range(6)]


@pytest.fixture
def padded(tmp_path: Path) -> Path:
    """A model with rows beyond its tokenizer, the last of which are likelier than all tokens together."""
    folder = publish(CHAT, tmp_path / "padded", spare_rows=SPARE)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        head = model.get_output_embeddings().weight
        head[-SPARE:] = 40.0 * model.model.embed_tokens.weight[5]
    model.save_pretrained(folder)
    return folder


def test_only_tokens_have_logits() -> None:
    model = LlamaForCausalLM(LlamaConfig(vocab_size=12, **SMALL))
    states = torch.randn(3, 8)
    model.generation_config.suppress_tokens = [10, 11]
    torch.testing.assert_close(logits_of(model, states), (states @ model.lm_head.weight.T)[:, :10])


def test_rows_that_no_token_has_are_suppressed() -> None:
    tokenizer = published_tokenizer(CHAT)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=262, **SMALL))
    settle_stops(model, tokenizer)
    assert model.generation_config.suppress_tokens == [259, 260, 261]  # beyond 256 bytes and 3 special tokens


@pytest.mark.parametrize("engine", ["eager", "graphs", "continuous"])
def test_rows_beyond_the_tokenizer_are_never_sampled(padded: Path, engine: str) -> None:
    tokenizer = load_tokenizer(str(padded))
    model = load_policy(padded, tokenizer)
    assert known_tokens(model) == rows_needed(tokenizer) == len(tokenizer)
    config = SamplingConfig(max_prompt_tokens=200, max_response_tokens=8, engine=engine)
    drawn = sample(model, tokenizer, PROMPTS, config, generator=torch.Generator().manual_seed(0))
    assert max(token for one in drawn for token in one.response_ids) < len(tokenizer)
    for one in drawn:  # and what was drawn has the probability that is trained on
        row = lay([Tree(one.prompt_ids, [one.response_ids])], model.device)
        again, _ = response_logprobs(model, row, sampling_temperature=1.0)
        torch.testing.assert_close(again.detach().cpu(), torch.tensor(one.logprobs), rtol=0, atol=1e-4)


def test_their_probability_is_shared_by_the_tokens_and_stock_draws_none_of_them(padded: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(padded))
    model = load_policy(padded, tokenizer)
    [tree] = encode(tokenizer, [(QUESTION, "Fine.")], Lengths(200, 20))
    found, _ = response_logprobs(model, lay([tree], model.device), sampling_temperature=1.0)
    save(model, tokenizer, tmp_path / "saved")
    stock = AutoModelForCausalLM.from_pretrained(tmp_path / "saved").eval()
    logits = stock(torch.tensor([tree.prompt + tree.responses[0]])).logits[0, len(tree.prompt) - 1 : -1]
    targets = torch.tensor(tree.responses[0])[:, None]
    expected = logits[:, : len(tokenizer)].log_softmax(-1).gather(1, targets)[:, 0]
    torch.testing.assert_close(found.cpu(), expected, rtol=0, atol=1e-4)
    assert (logits.log_softmax(-1).gather(1, targets)[:, 0] - expected).abs().max() > 0.5  # or there was nothing to do
    prompt = torch.tensor([tree.prompt])
    written = stock.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=True, max_new_tokens=12)
    assert int(written[0, len(tree.prompt) :].max()) < len(tokenizer)


def is_tied(model: PreTrainedModel) -> bool:
    return model.get_input_embeddings().weight.data_ptr() == model.get_output_embeddings().weight.data_ptr()


@pytest.mark.parametrize("adapted", [False, True])
def test_tied_embeddings_stay_tied_when_they_grow_are_saved_and_read_again(tmp_path: Path, adapted: bool) -> None:
    base = publish(CHAT, tmp_path / "base")
    rows = len(AutoTokenizer.from_pretrained(base))
    tokenizer = load_tokenizer(str(base))
    model = load_policy(base, tokenizer)
    assert is_tied(model) and len(model.get_input_embeddings().weight) == rows + 1  # a row for padding
    if adapted:
        add_adapter(model, AdapterConfig(rank=2), seed=0)
    save(model, tokenizer, tmp_path / "sft")
    assert "lm_head.weight" not in load_file(tmp_path / "sft" / "model.safetensors")
    again = load_policy(tmp_path / "sft", load_tokenizer(str(tmp_path / "sft")))
    assert is_tied(again) and again.config.tie_word_embeddings
    assert len(again.get_input_embeddings().weight) == again.config.vocab_size == rows + 1
    torch.testing.assert_close(again.get_input_embeddings().weight, model.get_input_embeddings().weight)
    reward_model = load_reward_model(tmp_path / "sft", tokenizer)
    assert len(reward_model.get_input_embeddings().weight) == rows + 1


def test_new_rows_are_the_same_at_every_load_and_for_every_rank(tmp_path: Path) -> None:
    base = publish(CHAT, tmp_path / "base")
    tokenizer = load_tokenizer(str(base))
    loaded = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        loaded.append(load_policy(base, tokenizer).get_input_embeddings().weight[-1])
        assert torch.equal(torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(seed)))
    assert torch.equal(*loaded)


def test_ids_beyond_the_count_of_tokens_have_rows(tmp_path: Path) -> None:
    """The ids of a vocabulary may leave some out."""
    base = publish(CHAT, tmp_path / "base")
    file = base / "tokenizer.json"
    document = json.loads(file.read_text())
    document["model"]["vocab"]["Z"] = 265
    file.write_text(json.dumps(document))
    tokenizer = load_tokenizer(str(base))
    assert rows_needed(tokenizer) == 266 > len(tokenizer)
    assert len(load_policy(base, tokenizer).get_input_embeddings().weight) == 266
