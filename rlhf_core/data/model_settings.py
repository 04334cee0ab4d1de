"""What a model's folder says of itself, its configuration and its tokenizer.

Code that lies beside them is never run, and nobody is asked whether it should be: a pipeline has no one to answer.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

Read = TypeVar("Read")


def read_config(source: Path | str, **loading: Any) -> PreTrainedConfig:
    """The configuration of a model.

    Args:
        source: a folder, or a name on the hub.
        loading: further options of `from_pretrained`.

    Raises:
        ValueError: if it needs code of its own.
    """
    config: PreTrainedConfig = without_code(AutoConfig.from_pretrained, source, **loading)
    return config


def read_tokenizer(source: Path | str, **loading: Any) -> PreTrainedTokenizerBase:
    """The tokenizer of a model, as its files have it; arguments and errors as of `read_config`."""
    tokenizer: PreTrainedTokenizerBase = without_code(AutoTokenizer.from_pretrained, source, **loading)
    tokenizer.init_kwargs.pop("auto_map", None)  # who loads what is saved shall not run it either
    return tokenizer


def without_code(read: Callable[..., Read], source: Path | str, **loading: Any) -> Read:
    """What `from_pretrained` of a class reads; arguments and errors as of `read_config`."""
    try:
        return read(source, trust_remote_code=False, **loading)
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise ValueError(
            f"{source} needs code that lies beside it (`auto_map`), which is never run here; name a model whose family "
            "transformers has itself"
        ) from None


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
            f"{config.name_or_path}: `{key}` in config.json is {value!r}, which is no finite number{limit}; correct "
            "it, or take the folder as it was saved"
        )
    return float(value)
