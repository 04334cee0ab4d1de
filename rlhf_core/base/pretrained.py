"""A pretrained model as base: copied whole into a plain folder, with its chat template settled."""

from datetime import date
from pathlib import Path

from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from rlhf_core.base import gguf
from rlhf_core.data.chat_template import settle_template
from rlhf_core.data.model_settings import read_config, read_tokenizer
from rlhf_core.data.tokenizer import allow_special_tokens, load_tokenizer
from rlhf_core.models.classifiers import write_model
from rlhf_core.models.fitness import check_base
from rlhf_core.models.gguf_files import check_gguf, read_notes
from rlhf_core.models.loading import load_policy
from rlhf_core.models.model_files import check_files, keep_notes
from rlhf_core.models.weights import complete_model
from rlhf_core.training.doing import doing
from rlhf_core.training.stage import Stage, StageResult


def adopt(folder: Path, *, out: Path, day: date | None = None, allow: bool = False) -> Stage:
    """Copy a causal language model and its tokenizer, and load the copy as later stages will.

    Args:
        folder: that `from_pretrained` reads.
        out: folder that receives the model.
        day: to which a chat template that reads the clock is pinned; None is today.
        allow: whether texts may write its special tokens, as of `allow_special_tokens`.

    Yields:
        Nothing: no step is taken.

    Raises:
        ValueError: if weights are missing, unread or not finite, or no policy and no reward model can be made of it.
    """
    yield from ()
    doing("checking, reading and copying the model")
    check_files(folder)
    check_base(read_config(folder))
    tokenizer = read_tokenizer(folder)
    settle_template(tokenizer, day=day)
    allow_special_tokens(tokenizer, allow=allow)
    return _saved(complete_model(AutoModelForCausalLM, folder), tokenizer, folder, out)


def adopt_gguf(path: Path, *, out: Path, day: date | None = None, allow: bool = False) -> Stage:
    """The same with the model and tokenizer of a GGUF file, whose weights are dequantised.

    Raises:
        ValueError: as `adopt`, or if the file cannot be read here.
    """
    yield from ()
    doing("reading the model and dequantising it")
    check_gguf(path)
    check_base(read_config(path.parent, gguf_file=path.name))
    notes = read_notes(path)
    tokenizer = gguf.load_tokenizer(path, notes)
    settle_template(tokenizer, day=day)
    allow_special_tokens(tokenizer, allow=allow)
    result = _saved(gguf.load_dequantised(path), tokenizer, path.parent, out)
    gguf.write_card(path, notes, out)
    return result


def _saved(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path, out: Path) -> StageResult:
    write_model(model, out)
    tokenizer.save_pretrained(out)
    keep_notes(folder, out)
    load_policy(out, load_tokenizer(str(out)))
    return StageResult(artifacts={"base": out})
