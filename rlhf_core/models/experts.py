"""Mixtures of experts: how evenly routers use their experts, and the loss by which stock training keeps them even.

N counts tokens, E experts of a layer.
"""

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils.output_capturing import OutputRecorder

from rlhf_core.data.packing import Row
from rlhf_core.models.trunk import trunk, way_of

BALANCE = "load_balancing_loss_func"
"""Function in the module of a family that `transformers` trains with such a loss."""

COEFS = ("router_aux_loss_coef", "aux_loss_coef")
"""Attributes of a model with the weight of that loss."""

JITTER = ("jitter_noise", "input_jitter_noise", "moe_jitter_eps")
"""Attributes of layers with the noise that training mode puts on what routers read."""


@contextmanager
def recorded_routing(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """Context in which the logits of all routers are recorded, each ``[N, E]``; nothing of a model without experts."""
    recorders = getattr(trunk(model), "_can_record_outputs", None) or {}
    specifications = recorders.get("router_logits", []) if _balance_of(model) else []
    if not isinstance(specifications, list):
        specifications = [specifications]
    logits: list[Tensor] = []
    handles = [
        module.register_forward_hook(_recording(recorder, logits))
        for name, module in trunk(model).named_modules()
        for recorder in specifications
        if isinstance(module, recorder.target_class) and f".{recorder.layer_name or ''}." in f".{name}.."
    ]
    try:
        yield logits
    finally:
        for handle in handles:
            handle.remove()


def balance_loss(model: PreTrainedModel, row: Row, logits: list[Tensor]) -> Tensor | None:
    """The load-balancing loss of Fedus et al. (2021), equations 4 to 6, as stock `transformers` has it.

    It is E times the sum over experts of the share of tokens that go to one and its mean probability: as many as the
    experts of a token where all are used alike, more where they are not.

    Args:
        model: causal language model.
        row: what was read.
        logits: recorded meanwhile.

    Returns:
        A scalar; None of a model without such a loss.

    Raises:
        ValueError: if its router logits cannot be had, and its configuration asks for the loss.
    """
    balance = _balance_of(model)
    if balance is None:
        return None
    if not logits or list(inspect.signature(balance).parameters)[:3] != ["gate_logits", "num_experts", "top_k"]:
        if not asks_for_balance(model):
            return None
        raise ValueError(
            f"{model.name_or_path}: output_router_logits in its config.json asks for a load-balancing loss, and the "
            "router logits cannot be had: set compiled to false, or output_router_logits to false"
        )
    return balance(tuple(logits), model.num_experts, experts_per_token(model), _read_mask(model, row))


def asks_for_balance(model: PreTrainedModel) -> bool:
    """Whether the configuration of a model has stock training add its load-balancing loss."""
    return bool(getattr(model.config, "output_router_logits", False))


def balance_coef(model: PreTrainedModel) -> float:
    """Weight of the load-balancing loss, as stock training has it: 0 where the configuration does not ask for it."""
    coefs: Iterator[Any] = (getattr(model, name, None) for name in COEFS)
    return next((float(coef) for coef in coefs if coef), 0.0) if asks_for_balance(model) else 0.0


def experts_per_token(model: PreTrainedModel) -> int:
    """How many experts read each token."""
    count: Any = model.num_experts_per_tok
    return int(count)


def still_routers(module: nn.Module) -> None:
    """Turn off the noise that training mode would put on what a router reads."""
    for name in JITTER:
        if isinstance(getattr(module, name, None), float):
            setattr(module, name, 0.0)


def _balance_of(model: PreTrainedModel) -> Callable[..., Tensor] | None:
    modules = (sys.modules.get(kind.__module__) for kind in inspect.getmro(type(model)))
    return next((vars(module)[BALANCE] for module in modules if module and BALANCE in vars(module)), None)


def _recording(recorder: OutputRecorder, logits: list[Tensor]) -> Callable[[nn.Module, Any, Any], None]:
    def hook(_: nn.Module, __: Any, output: Any) -> None:
        tensor = output if isinstance(output, Tensor) else output[recorder.index]
        logits.append(tensor.reshape(-1, tensor.shape[-1]))

    return hook


def _read_mask(model: PreTrainedModel, row: Row) -> Tensor | None:
    """Which tokens of the padded way are real, shape ``[B, T]``; None where there are no others."""
    if way_of(model).rows:
        return None
    lengths = row.segments.keys.diff()
    return (torch.arange(int(lengths.max()), device=lengths.device) < lengths[:, None]).long()
