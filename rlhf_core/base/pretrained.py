"""A pretrained model as base: copied whole into a plain folder, with its chat template settled."""

import copy
from datetime import date
from pathlib import Path

import torch
from huggingface_hub import ModelCardData
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from rlhf_core.data.chat_template import settle_template
from rlhf_core.data.tokenizer import load_tokenizer
from rlhf_core.models.fitness import check_base
from rlhf_core.models.gguf_files import described
from rlhf_core.models.loading import load_policy
from rlhf_core.models.model_files import check_kind, keep_notes
from rlhf_core.models.weights import complete_model
from rlhf_core.training.stage import Stage, StageResult


def adopt(folder: Path, *, out: Path, file: str | None = None, day: date | None = None) -> Stage:
    """Copy a causal language model and its tokenizer, and load the copy as later stages will.

    Args:
        folder: that `from_pretrained` reads, or in which the GGUF file lies.
        out: folder that receives the model.
        file: a GGUF file, whose weights are dequantised.
        day: to which a chat template that reads the clock is pinned; None is today.

    Yields:
        Nothing: no step is taken.

    Raises:
        ValueError: if weights are missing, unread or not finite, or no policy and no reward model can be made of it.
    """
    yield from ()
    options = {} if file is None else {"gguf_file": file}
    if file is None:
        check_kind(folder)
    check_base(AutoConfig.from_pretrained(folder, **options))
    tokenizer = AutoTokenizer.from_pretrained(folder, **options)
    settle_template(tokenizer, day=day)
    model = complete_model(AutoModelForCausalLM, folder, **options)
    (model if file is None else _dequantised(model)).save_pretrained(out)
    tokenizer.save_pretrained(out)
    keep_notes(folder, out)
    if file is not None:
        _write_card(folder / file, out)
    load_policy(out, load_tokenizer(str(out)))
    return StageResult(artifacts={"base": out})


def _dequantised(model: PreTrainedModel) -> PreTrainedModel:
    """A fresh model with the same weights: `transformers` saves none that it read from a GGUF file."""
    with torch.device("meta"):
        fresh: PreTrainedModel = AutoModelForCausalLM.from_config(copy.deepcopy(model.config), dtype=model.dtype)
    fresh.load_state_dict(model.state_dict(), assign=True)
    fresh.tie_weights()
    fresh.generation_config = model.generation_config
    return fresh


def _write_card(file: Path, out: Path) -> None:
    """Turn what a GGUF file says of itself into a model card, unless one lay beside it."""
    card = out / "README.md"
    if not card.exists():
        said = described(file)
        data = ModelCardData(model_name=said.get("name"), license=said.get("license"))
        card.write_text(f"---\n{data.to_yaml()}\n---\n\nDequantised from {file.name}.\n", encoding="utf-8")
