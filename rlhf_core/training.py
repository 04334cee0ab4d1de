"""What every training stage shares: optimiser, schedule, precision, one optimiser step."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.optim import AdamW
from torch.optim.lr_scheduler import LRScheduler
from transformers import PreTrainedModel, get_scheduler

from rlhf_core.config import Frozen
from rlhf_core.models import device


class OptimiserConfig(Frozen):
    """AdamW with a schedule and gradient clipping."""

    lr: float = Field(1e-3, gt=0)
    """Peak learning rate."""
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Shape of the learning rate after warm-up; cosine and linear end at 0."""
    warmup_share: float = Field(0.05, ge=0, lt=1)
    """Share of the steps in which the learning rate rises from 0."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradients are scaled down to this norm."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Type of the matrix products; weights stay float32. bfloat16 is for accelerators, slow on most processors."""
    max_tokens: int = Field(2048, ge=1)
    """Tokens in one forward pass; an optimiser batch is cut into such micro-batches, its loss stays the same."""


class Optimiser:
    """One model's AdamW with its schedule.

    Args:
        model: whose parameters are trained.
        config: learning rate and the rest.
        steps: optimiser steps of the whole run, which the schedule spans.
    """

    def __init__(self, model: PreTrainedModel, config: OptimiserConfig, steps: int) -> None:
        self._model = model
        self._config = config
        self._adamw = AdamW(
            model.parameters(),
            lr=config.lr,
            betas=config.betas,
            eps=config.eps,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self._schedule: LRScheduler = get_scheduler(
            config.schedule, self._adamw, num_warmup_steps=round(steps * config.warmup_share), num_training_steps=steps
        )

    def accumulate(self, losses: Iterable[Tensor]) -> float:
        """Set the gradients to those of the summed micro-batch losses.

        Each loss must already be divided by the count of the whole optimiser batch, so that their sum is its mean.

        Args:
            losses: scalar losses; drawn one by one, so that only one graph is alive.

        Returns:
            The summed loss.
        """
        total = 0.0
        self._adamw.zero_grad(set_to_none=True)
        for loss in losses:
            loss.backward()
            total += float(loss.detach())
        return total

    def step(self) -> None:
        """Clip the gradients, move the weights, advance the schedule."""
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._config.max_grad_norm)
        self._adamw.step()
        self._schedule.step()

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return float(self._schedule.get_last_lr()[0])


def precision(config: OptimiserConfig) -> AbstractContextManager[object]:
    """Context in which matrix products run in the configured precision."""
    return torch.autocast(device().type, dtype=torch.bfloat16, enabled=config.precision == "bfloat16")
