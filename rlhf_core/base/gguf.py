"""A model from a GGUF file: weights dequantised, texts split as its vocabulary was learned, its card written down."""

import copy
from pathlib import Path

import torch
from huggingface_hub import ModelCardData
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.data.model_settings import read_tokenizer
from rlhf_core.models.gguf_files import GGUFNotes
from rlhf_core.models.weights import complete_model

DIGIT_BY_DIGIT = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")
"""Splits of `tokenizer.ggml.pre` (llama.cpp, `llama-vocab.cpp`): each digit alone, then as GPT-2."""

AS_GPT2 = ("", "default", "gpt-2", "phi-2", "mpt", "olmo", "jais", "roberta-bpe", "gigachat", "trillion")
"""Those that split as GPT-2 does."""


def load_tokenizer(path: Path, notes: GGUFNotes) -> PreTrainedTokenizerBase:
    """The tokenizer of a GGUF file; `transformers` splits texts as GPT-2 where it does not know the file's way.

    Raises:
        ValueError: if its way is not known here either, since other ids than the model learned would be read silently.
    """
    tokenizer = read_tokenizer(path.parent, gguf_file=path.name)
    splitting = tokenizer.backend_tokenizer.pre_tokenizer
    if not isinstance(splitting, ByteLevel) or notes.split in AS_GPT2:
        return tokenizer
    if notes.split not in DIGIT_BY_DIGIT:
        raise ValueError(
            f"{path}: nobody here knows how '{notes.split}' splits texts (tokenizer.ggml.pre); name the folder of the "
            "model that the file was made of, by base.kind folder or hub"
        )
    digits = Digits(individual_digits=True)
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence([digits, ByteLevel(add_prefix_space=False)])
    return tokenizer


def load_dequantised(path: Path) -> PreTrainedModel:
    """The model of a GGUF file, copied into a fresh one: `transformers` saves none that it read from such a file.

    Raises:
        ValueError: as `complete_model`.
    """
    model = complete_model(AutoModelForCausalLM, path.parent, gguf_file=path.name)
    config = copy.deepcopy(model.config)
    del config.quantization_config  # or what is read from the copy would count as quantised, and could not be saved
    with torch.device("meta"):
        fresh: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=model.dtype)
    fresh.load_state_dict(model.state_dict(), assign=True)
    fresh.tie_weights()
    fresh.generation_config = model.generation_config
    return fresh


def write_card(path: Path, notes: GGUFNotes, out: Path) -> None:
    """Turn what a GGUF file says of itself into a model card, unless one lay beside it."""
    card = out / "README.md"
    if not card.exists():
        data = ModelCardData(model_name=notes.name or None, license=notes.license or None)
        card.write_text(f"---\n{data.to_yaml()}\n---\n\nDequantised from {path.name}.\n", encoding="utf-8")
