"""Optimiser, learning-rate schedule and gradient accumulation by a token budget."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_model_state_dict,
    set_state_dict,
)
from torch.distributed.tensor import DTensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import AdamW
from torch.optim.lr_scheduler import LRScheduler
from transformers import PreTrainedModel, get_scheduler

from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.distributed import Loss, caller, rank, ranks, rounds, shard, summed, unsynced
from rlhf_core.models.compilation import fuse, recompute
from rlhf_core.models.lora import dropping
from rlhf_core.models.precision import NotFiniteError, check_finite

IN_PART = StateDictOptions(strict=False)
"""A state need not have all weights: those that are frozen stay what they are."""


class Optimiser:
    """One model's AdamW with its schedule, on one rank or many.

    Args:
        model: whose parameters are trained unless they are frozen; sharded in place where FSDP2 is asked for.
        config: learning rate and the rest.
        steps: optimiser steps of the whole run, which the schedule spans.
    """

    def __init__(self, model: PreTrainedModel, config: OptimiserConfig, steps: int) -> None:
        self._model = recompute(shard(fuse(model, config)), config)
        self.config = config
        self._call = caller(model)
        self._adamw = AdamW(
            [weight for weight in model.parameters() if weight.requires_grad],
            lr=config.lr,
            betas=config.betas,
            eps=config.eps,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self._schedule: LRScheduler = get_scheduler(
            config.schedule, self._adamw, num_warmup_steps=round(steps * config.warmup_share), num_training_steps=steps
        )

    def accumulate(self, sizes: Sequence[int], loss: Loss) -> dict[str, float]:
        """Set the gradients to those of a loss summed over the items of an optimiser batch, each item on one rank.

        The loss must already be divided by the count of the whole batch, so that the sum is its mean. DDP and FSDP2
        average gradients over ranks, which is undone here. A rank without work of its own repeats an item at weight 0.

        Args:
            sizes: tokens of each item.
            loss: called with the model and the positions of some items; only one graph is alive at a time.

        Returns:
            The reported figures, summed over the batch.

        Raises:
            NotFiniteError: if one is no number; no weight has moved then.
        """
        self._adamw.zero_grad(set_to_none=True)
        return self.add(sizes, loss)

    def add(self, sizes: Sequence[int], loss: Loss) -> dict[str, float]:
        """As `accumulate`, on top of the gradients that there are."""
        totals: dict[str, float] = {}
        groups = rounds(sizes, self.config.max_tokens)
        with dropping(self._model, seed=ranks() * self._schedule.last_epoch + rank()):
            for number, group in enumerate(groups, start=1):
                with unsynced(self._call, last=number == len(groups)):
                    part, figures = self._call(loss, group or [0])
                    (part * (ranks() if group else 0)).backward()
                for name, value in figures.items():
                    totals[name] = totals.get(name, 0.0) + (float(value) if group else 0.0)
        figures = summed(totals)
        check_finite(f"figures of training ({', '.join(figures)})", torch.tensor(list(figures.values())))
        return figures

    def step(self) -> None:
        """Clip the gradients by their norm over all ranks, move the weights, advance the schedule.

        Raises:
            NotFiniteError: naming a weight whose gradient is no number; no weight has moved then.
        """
        gradients = {name: weight.grad for name, weight in self._model.named_parameters() if weight.grad is not None}
        norm = get_total_norm(gradients.values())
        if not _number(norm).isfinite():
            astray = [name for name, gradient in gradients.items() if not _number(gradient.sum()).isfinite()]
            which = f"the first is that of {astray[0]}" if astray else "their norm overflows"
            raise NotFiniteError(f"gradients are not finite, {which}; train at a lower learning rate")
        clip_grads_with_norm_(self._model.parameters(), self.config.max_grad_norm, norm)
        self._adamw.step()
        self._schedule.step()

    def state_dict(self) -> dict[str, Any]:
        """What is trained, Adam's moments by the names of it, and the schedule; does not depend on the ranks."""
        unused = not self._adamw.state
        weights, moments = get_state_dict(self._model, self._adamw)
        if unused:  # torch has taken a step of length 0 to make the moments, and counted it
            for state in self._adamw.state.values():
                state["step"].zero_()
        return {"model": self._trained(weights), "adamw": moments, "schedule": self._schedule.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to a state."""
        set_state_dict(
            self._model,
            self._adamw,
            model_state_dict=state["model"],
            optim_state_dict=state["adamw"],
            options=IN_PART,
        )
        self._schedule.load_state_dict(state["schedule"])

    def weights(self) -> dict[str, Any]:
        """What is trained, by name: all weights, or adapters and heads; the tensors themselves, sharded if they are."""
        return self._trained(get_model_state_dict(self._model))

    def load_weights(self, weights: dict[str, Any]) -> None:
        """Go back to what `weights` was; the rest of the state stays."""
        set_model_state_dict(self._model, weights, options=IN_PART)

    def _trained(self, weights: dict[str, Any]) -> dict[str, Any]:
        parameters = self._model.named_parameters(remove_duplicate=False)
        frozen = {name for name, weight in parameters if not weight.requires_grad}
        return {name: weight for name, weight in weights.items() if name not in frozen}

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return float(self._schedule.get_last_lr()[0])


def _number(value: Tensor) -> Tensor:
    """A scalar over all ranks."""
    return value.full_tensor() if isinstance(value, DTensor) else value
