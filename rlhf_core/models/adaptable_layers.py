"""Layers of a trunk that an adapter can be on."""

import torch
from peft import LoraConfig
from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D


def adaptable_layers(trunk: nn.Module) -> list[str]:
    """Names of the layers of a trunk that compute W x, but for those that are named like layers of experts once were.

    Peft would put an adapter on the weights of all experts instead, where a mixture also has dense or shared ones.
    """
    linear = [name for name, module in trunk.named_modules() if _is_linear(module)]
    taken = LoraConfig(target_modules=linear)
    convert_peft_config_for_transformers(taken, trunk, None)
    return [name for name in linear if name in (taken.target_modules or ())]


def kinds_of(layers: list[str]) -> list[str]:
    """The last parts of the names of layers."""
    return sorted({layer.rpartition(".")[2] for layer in layers})


def _is_linear(module: nn.Module) -> bool:
    """Whether a layer is W x, and maybe b; some that inherit from one, such as routers, give something else."""
    if type(module) in (nn.Linear, Conv1D) or not isinstance(module, nn.Linear):
        return isinstance(module, nn.Linear | Conv1D)
    ones = module.weight.new_ones(1, module.in_features)
    try:
        found = module(ones)
    except Exception:  # whatever it makes of a plain vector
        return False
    return isinstance(found, Tensor) and torch.allclose(found, functional.linear(ones, module.weight, module.bias))
