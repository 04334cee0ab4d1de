"""Weights of a saved model: all of them, of the right shapes, finite and no others, or refused by their names."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import PreTrainedModel

from rlhf_core.data.model_settings import in_a_line, without_code
from rlhf_core.models.model_files import check_files, weight_files

BUFFERS = re.compile(r"(\.masked_bias|\battn\.bias|\battention\.bias|rotary_emb\.inv_freq|position_ids)$")
"""Constants that older versions of `transformers` wrote beside weights."""

SHOWN = 3


def complete_model(
    family: Any, source: Path | str, *, new: Collection[str] = (), spare: Collection[str] = (), **options: Any
) -> PreTrainedModel:
    """A model with all its weights; `transformers` would draw at random what is missing, and pass over what is more.

    Args:
        family: class whose `from_pretrained` loads it.
        source: a folder, or a name on the hub.
        new: weights that it need not have.
        spare: weights that may be there without being read.
        options: of `from_pretrained`.

    Raises:
        ValueError: naming the first weights that are missing, of other shapes, not read, or not finite; or the file
            that is missing or damaged.
    """
    if "gguf_file" not in options:
        with torch.random.fork_rng(devices=()):
            _loaded(family, source, new, spare, **options, device_map="meta")  # before memory is taken for any
    model = _loaded(family, source, new, spare, **options)
    broken = [key for key, weight in model.state_dict().items() if key not in new and not _is_finite(weight)]
    _refuse(source, "weights are not finite (NaN or infinite)", broken, "fetch or save it again")
    return model


def check_weights(family: Any, source: Path) -> None:
    """See by names and shapes that a folder holds all weights and no others; their numbers are not read.

    Raises:
        ValueError: as `complete_model`.
    """
    _loaded(family, source, (), (), device_map="meta")


def _loaded(
    family: Any, source: Path | str, new: Collection[str], spare: Collection[str], **options: Any
) -> PreTrainedModel:
    if "gguf_file" not in options:
        options["use_safetensors"] = True
        if Path(source).is_dir():
            check_files(Path(source))
    model: PreTrainedModel
    try:
        model, report = without_code(
            family.from_pretrained, source, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    except OSError as error:
        raise ValueError(f"{source}: cannot be loaded ({in_a_line(error)}); name a whole model") from None
    name, one_model = type(model).__name__, "take config.json and weights of one model"
    others = [f"{key} {tuple(there)} instead of {tuple(here)}" for key, there, here in report["mismatched_keys"]]
    more = {key for key in report["unexpected_keys"] if not BUFFERS.search(key)}
    _refuse(source, f"{name} needs weights of other shapes", others, one_model)
    _refuse(source, f"{name} needs weights that are not there", report["missing_keys"] - {*new}, "name a whole model")
    _refuse(
        source,
        "weights are whole numbers, as those of a quantised model",
        _whole_numbers(source, {name.rpartition(".")[2] for name, _ in model.named_buffers()}),
        "name it as it was before",
    )
    _refuse(source, f"{name} does not read weights that are there", more - {*spare}, one_model)
    return model


def _whole_numbers(source: Path | str, tables: Collection[str]) -> list[str]:
    """Names of weights in files that are not floats; a model would compute with their digits.

    Args:
        source: folder of the files.
        tables: last parts of the names of what a model keeps beside weights, such as which expert has which token.
    """
    if not Path(source).is_dir():
        return []
    names = []
    for path in weight_files(Path(source)):
        with safe_open(path, "np") as weights:
            keys = [key for key in weights.keys() if not BUFFERS.search(key)]  # noqa: SIM118 (it is no mapping)
            keys = [key for key in keys if key.rpartition(".")[2] not in tables]
            names += [key for key in keys if not weights.get_slice(key).get_dtype().startswith(("F", "BF"))]
    return names


def _refuse(source: Path | str, what: str, names: Collection[str], mend: str) -> None:
    if names:
        shown = ", ".join(sorted(names)[:SHOWN])
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        raise ValueError(f"{source}: {what}: {shown}{more}; {mend}")


def _is_finite(weight: Tensor) -> bool:
    """Whether all numbers are; the extremes tell it without a copy of the size of the weight."""
    if weight.numel() == 0 or not weight.is_floating_point():
        return True
    return bool(torch.stack(weight.aminmax()).isfinite().all())
