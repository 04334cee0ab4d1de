"""What a model's folder says of itself, its configuration and its tokenizer.

Code that lies beside them is never run, and nobody is asked whether it should be: a pipeline has no one to answer.
"""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from rlhf_core.data.panics import no_panic

Read = TypeVar("Read")

MEND = "correct it, or take the folder as it was saved"

SIZES: dict[str, tuple[int, int]] = {
    **dict.fromkeys(("vocab_size", "hidden_size", "n_embd", "d_model"), (1, 2**24)),
    **dict.fromkeys(("head_dim", "intermediate_size", "n_inner", "d_ff", "ffn_dim"), (0, 2**24)),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_labels"), (1, 1000)),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_key_value_heads"), (0, 10**4)),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts", "num_experts_per_tok"), (0, 10**4)),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"), (1, 2**40)),
}
"""Whole numbers of a model's `config.json` that decide how much is computed, and the least and the largest that each
may be: an order above those of published models."""


def read_config(source: Path | str, **loading: Any) -> PreTrainedConfig:
    """The configuration of a model.

    Args:
        source: a folder, or a name on the hub.
        loading: further options of `from_pretrained`.

    Raises:
        ValueError: if it needs code of its own, or says what no model can be.
    """
    if "gguf_file" not in loading:
        check_sizes(without_code(PreTrainedConfig.get_config_dict, source, **loading)[0], source)
    config: PreTrainedConfig = without_code(AutoConfig.from_pretrained, source, **loading)
    return config


def read_tokenizer(source: Path | str, **loading: Any) -> PreTrainedTokenizerBase:
    """The tokenizer of a model, as its files have it; arguments and errors as of `read_config`."""
    tokenizer: PreTrainedTokenizerBase = without_code(AutoTokenizer.from_pretrained, source, **loading)
    tokenizer.init_kwargs.pop("auto_map", None)  # who loads what is saved shall not run it either
    _check_tokenizer(tokenizer, source)
    _draw_nothing(tokenizer, source)
    return tokenizer


DRAWN = ("dropout", "alpha", "nbest_size")
"""What tokenizers say of how they draw tokens at random, as in BPE dropout, a way to train."""


def _draw_nothing(tokenizer: PreTrainedTokenizerBase, source: Path | str) -> None:
    """Let a tokenizer cut the same text into the same tokens each time: the dropout in its files is switched off.

    Raises:
        ValueError: if it still draws them.
    """
    model = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    for name in DRAWN:
        if getattr(model, name, None) is not None:
            setattr(model, name, None)
    if (tokenizer.init_kwargs.get("sp_model_kwargs") or {}).get("enable_sampling"):
        raise ValueError(
            f"{source}: `sp_model_kwargs` in tokenizer_config.json has the tokenizer draw tokens at random "
            "(`enable_sampling`), so that no figure would come out twice; set it to false"
        )


MOST_GROWTH = 1000
"""Characters that a tokenizer may make of one before it looks for tokens; published ones make three at most."""


def _check_tokenizer(tokenizer: PreTrainedTokenizerBase, source: Path | str) -> None:
    """Refuse a tokenizer whose files would fill the memory, or hold no number where one is compared."""
    longest = tokenizer.model_max_length
    if isinstance(longest, bool) or not isinstance(longest, int | float):
        raise ValueError(
            f"{source}: `model_max_length` in tokenizer_config.json is {longest!r:.40}, no number of tokens; {MEND}"
        )
    backend = getattr(tokenizer, "backend_tokenizer", None)
    parts = [part for part in (getattr(backend, "normalizer", None), getattr(backend, "pre_tokenizer", None)) if part]
    written = [value for part in parts for key, value in _values(json.loads(part.__getstate__())) if key in WRITTEN]
    growth = math.prod(max(len(value), 1) for value in written if isinstance(value, str))
    if growth > MOST_GROWTH:
        raise ValueError(
            f"{source}: the normalizer in tokenizer.json can make {growth:,} characters of one, where {MOST_GROWTH:,} "
            f"is far more than any needs; {MEND}"
        )


WRITTEN = ("content", "prepend", "replacement")
"""Keys of a normalizer's settings under which stands what it writes."""


ENDLESS = {"time_step_limit"}
"""Keys whose number may be infinite: families with a state space, such as Mamba's, limit their steps so by default."""


def check_sizes(settings: Any, source: Path | str) -> None:
    """See that a `config.json` has finite numbers only, and sizes that some model may have.

    Args:
        settings: what it holds.
        source: names it.

    Raises:
        ValueError: naming the key, its value and its range.
    """
    for key, value in _values(settings):
        endless = key in ENDLESS and value == math.inf
        if isinstance(value, float) and not math.isfinite(value) and not endless:
            raise ValueError(f"{source}: `{key}` in config.json is {value}, which is no finite number; {MEND}")
        if key not in SIZES or value is None or isinstance(value, list):
            continue
        least, most = SIZES[key]
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(
                f"{source}: `{key}` in config.json is {value!r:.40}, no whole number from {least} to {most}; {MEND}"
            )


def _values(settings: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value below settings, with the key that it stands under."""
    yield key, settings
    items = [(key, item) for item in settings] if isinstance(settings, list) else []
    for name, value in settings.items() if isinstance(settings, dict) else items:
        yield from _values(value, name)


def without_code(read: Callable[..., Read], source: Path | str, **loading: Any) -> Read:
    """What `from_pretrained` of a class reads; arguments and errors as of `read_config`."""
    try:
        with no_panic():
            return read(source, trust_remote_code=False, **loading)
    except OSError:
        raise
    except Exception as error:  # whatever its files may cause
        if "trust_remote_code" in str(error):
            raise ValueError(
                f"{source} needs code that lies beside it (`auto_map`), which is never run here; name a model whose "
                "family transformers has itself"
            ) from None
        raise ValueError(f"{source}: what its files say cannot be used ({in_a_line(error)}); {MEND}") from None


@contextmanager
def in_words(config: PreTrainedConfig) -> Iterator[None]:
    """Say in a line what keeps a configuration from being a model, whatever that causes."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ValueError):
            raise ValueError(in_a_line(error)) from None
        name = config.name_or_path or config.model_type
        raise ValueError(f"{name}: its config.json makes no model ({in_a_line(error)}); {MEND}") from None


def in_a_line(error: BaseException) -> str:
    """The first line of an error's words, and the reason below it where that line ends in a colon."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[: 2 if lines[0].endswith(":") else 1])


def stored_number(config: PreTrainedConfig, key: str, default: float, *, least: float = -math.inf) -> float:
    """A number in a model's `config.json`, which whoever wrote the folder may have set to anything.

    Raises:
        ValueError: if it is no finite number, or below `least`.
    """
    value = getattr(config, key, None)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value >= least):
        limit = "" if least == -math.inf else f" of at least {least:g}"
        raise ValueError(
            f"{config.name_or_path}: `{key}` in config.json is {value!r}, which is no finite number{limit}; {MEND}"
        )
    return float(value)
