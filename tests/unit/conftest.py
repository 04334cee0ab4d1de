"""A tokenizer of a few words, and a Llama and a GPT-2 of a few thousand weights."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
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
def make_tokenizer() -> Callable[[], PreTrainedTokenizerBase]:
    """For fixtures that outlive a test."""
    return build_tokenizer


def build_tokenizer() -> PreTrainedTokenizerBase:
    """One token for each word, padding apart from end-of-sequence."""
    words = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, unk_token="<|unk|>"))
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
