"""A tokenizer of a few words, and a Llama and a GPT-2 of a few thousand weights."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

WORDS = ("<|pad|>", "<|unk|>", "<|end|>", "<|user|>", "<|assistant|>", "how", "are", "you", "fine", "thanks")


def llama() -> LlamaForCausalLM:
    """Rotary positions: only distances between tokens matter."""
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.5,
    )
    return LlamaForCausalLM(config)


def gpt2() -> GPT2LMHeadModel:
    """Learned positions: a place that is off by one shows."""
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=len(WORDS), n_positions=64, n_embd=16, n_layer=2, n_head=2, initializer_range=0.5)
    )


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerBase:
    """The tokenizer of a test."""
    return build_tokenizer()


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., PreTrainedTokenizerBase]:
    """For fixtures that outlive a test, or for other words."""
    return build_tokenizer


def build_tokenizer(known: Sequence[str] = WORDS) -> PreTrainedTokenizerBase:
    """One token for each word, padding apart from end-of-sequence."""
    words = Tokenizer(models.WordLevel({word: index for index, word in enumerate(known)}, unk_token="<|unk|>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<|pad|>",
        unk_token="<|unk|>",
        eos_token="<|end|>",
        additional_special_tokens=["<|user|>", "<|assistant|>"],
        chat_template="{% for message in messages %}<|user|> {{ message['content'] }} {% endfor %}<|assistant|>",
    )


@pytest.fixture(params=[llama, gpt2])
def base(request: pytest.FixtureRequest, tokenizer: PreTrainedTokenizerBase, tmp_path: Path) -> Path:
    """Folder of a causal language model with random weights and its tokenizer."""
    torch.manual_seed(0)
    folder = tmp_path / "base"
    request.param().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def flash_by_the_book() -> Callable[..., Tensor]:
    """Stands in for the kernel of flash attention on a processor, which has none."""
    return _flash_by_the_book


def _flash_by_the_book(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    query_bounds: Tensor,
    key_bounds: Tensor,
    most_queries: int,
    most_keys: int,
    *,
    scale: float | None,
    window_size: tuple[int, int],
) -> Tensor:
    """What flash attention documents: the last query of a sequence stands at its last key."""
    found = []
    bounds = zip(
        query_bounds.tolist(), query_bounds.tolist()[1:], key_bounds.tolist(), key_bounds.tolist()[1:], strict=False
    )
    for first_query, end_query, first_key, end_key in bounds:
        assert end_query - first_query <= most_queries and end_key - first_key <= most_keys
        places = torch.arange(end_query - first_query)[:, None] + (end_key - first_key) - (end_query - first_query)
        behind = places - torch.arange(end_key - first_key)
        seen = (behind >= 0) & ((behind <= window_size[0]) | (window_size[0] < 0))
        query, key, value = (
            states.transpose(0, 1)
            for states in (queries[first_query:end_query], keys[first_key:end_key], values[first_key:end_key])
        )
        found.append(scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=scale).transpose(0, 1))
    return torch.cat(found)
