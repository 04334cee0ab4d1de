"""torch.compile and gradient checkpointing, layer by layer."""

from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.distributed import Model
from rlhf_core.models.trial import name_of
from rlhf_core.models.trunk import way_of


def fuse(model: Model, config: OptimiserConfig) -> Model:
    """Have each layer of a model compiled where it is asked for, when it is first called; the model itself.

    All layers of one kind share what was compiled, whatever the tokens of a row. Attention stays a call of its own,
    and sampling, whose cache changes from call to call, runs as it is.

    Raises:
        ValueError: if the model is computed with padding.
    """
    if config.compiled and not way_of(model).rows:
        raise ValueError(
            f"optimiser.compiled: {name_of(model)} is computed with padding, because {way_of(model).reason}, and "
            "compilation is for rows: set it to false"
        )
    if config.compiled:
        blocks = set(getattr(model, "_no_split_modules", None) or ())
        for module in model.modules():
            if type(module).__name__ in blocks:
                module.compile(dynamic=True)
    return model


def recompute(model: Model, config: OptimiserConfig) -> Model:
    """Have each layer of a model compute its activations again for its gradient, where that is asked for; the model.

    Chen et al. (2016), "Training deep nets with sublinear memory cost". Hooks of FSDP2 stay outside, and a copy of the
    model computes its own.
    """
    if config.gradient_checkpointing:
        blocks = set(getattr(model, "_no_split_modules", None) or ())
        for module in model.modules():
            if blocks & {kind.__name__ for kind in type(module).__mro__}:  # FSDP2 puts a class of its own before them
                vars(module)["forward"] = MethodType(_recomputed, module)
    return model


def _recomputed(module: nn.Module, *inputs: Any, **options: Any) -> Any:
    forward = partial(type(module).forward, module, **options)
    return checkpoint(forward, *inputs, use_reentrant=False) if torch.is_grad_enabled() else forward(*inputs)
