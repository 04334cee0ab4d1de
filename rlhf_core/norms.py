"""Root-mean-square norms that keep little for the backward pass, in place of those of `transformers`."""

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel


def rms_norm(states: Tensor, weight: Tensor, eps: float) -> Tensor:
    """Scale states to a root mean square of 1 over the last dimension, then by the weight.

    Zhang and Sennrich (2019), equation 4. On an accelerator torch has one fused operation for it. On a processor it has
    none, and the plain formula keeps three tensors of the size of the input for backward; here it keeps the input and a
    number for each token.

    Args:
        states: shape ``[..., D]``, float32 or float64 on a processor.
        weight: shape ``[D]``.
        eps: keeps the root from 0.

    Returns:
        Shape and dtype of the states.
    """
    if states.device.type == "cpu":
        normed: Tensor = _RMSNorm.apply(states, weight, eps)  # type: ignore[no-untyped-call]
        return normed
    return F.rms_norm(states, weight.shape, weight, eps)


def use_lean_norms(model: PreTrainedModel) -> None:
    """Let the norms of a model be computed by `rms_norm` wherever that is the same function, as a trial shows."""
    for module in model.modules():
        if _is_rms_norm(module):
            module.forward = MethodType(_forward, module)


def _forward(module: Any, states: Tensor) -> Tensor:
    return rms_norm(states, module.weight, module.variance_epsilon)


@torch.inference_mode()
def _is_rms_norm(module: nn.Module) -> bool:
    weight, eps = getattr(module, "weight", None), getattr(module, "variance_epsilon", None)
    if not isinstance(weight, Tensor) or not isinstance(eps, float):
        return False
    trial = torch.linspace(-1.0, 2.0, 2 * len(weight), device=weight.device, dtype=weight.dtype).view(2, -1)
    return torch.allclose(module(trial), rms_norm(trial, weight, eps), rtol=1e-4, atol=1e-5)


class _RMSNorm(torch.autograd.Function):
    """With n = x / rms and g the gradient of n: d x = (g - n mean(g n)) / rms."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, eps: float) -> Tensor:
        norms = torch.linalg.vector_norm(states, dim=-1, keepdim=True)
        scale: Tensor = norms.square_().div_(states.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(states, weight, scale)
        normed: Tensor = states * scale
        return normed.mul_(weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        states, weight, scale = ctx.saved_tensors
        normed = states * scale
        of_weight = (gradient * normed).flatten(0, -2).sum(dim=0)
        of_normed = gradient * weight
        shared = torch.linalg.vecdot(of_normed, normed).div_(states.shape[-1])
        return normed.mul_(-shared[..., None]).add_(of_normed).mul_(scale), of_weight, None
