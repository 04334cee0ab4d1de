"""Log-probabilities and entropies over a large vocabulary, without ever holding all logits."""

from typing import Any

import torch
from torch import Tensor, nn

from rlhf_core.models.soft_capping import soft_cap, soft_cap_slope

CHUNK_LOGITS = {"cpu": 2**22, "cuda": 2**28}
"""Logits that exist at a time: 16 MiB and 1 GiB in float32; an accelerator needs more rows to be busy."""

LEAST_ROWS = 64
"""Rows of logits at a time at least: every chunk reads the whole head and adds to its whole gradient."""


def head_logprobs(
    states: Tensor,
    head: nn.Module,
    targets: Tensor,
    *,
    temperature: float = 1.0,
    cap: float | None = None,
    known: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Log-probability of each target and entropy of its distribution, softmax(soft_cap(head(states)) / temperature).

    Logits exist chunk by chunk, once more in the backward pass, so that memory does not grow with the vocabulary.

    Args:
        states: final hidden states, shape ``[R, D]``.
        head: linear layer from D to the vocabulary of V.
        targets: token ids, shape ``[R]``, int64.
        temperature: divides the logits.
        cap: soft cap on the logits, before the temperature; None for none.
        known: rows of the head beyond so many are no tokens and have no probability; None for none.

    Returns:
        Log-probabilities and entropies, both shape ``[R]``, float32 at least, nats.

    Raises:
        ValueError: if the head is not linear.
    """
    if not isinstance(head, nn.Linear):
        raise ValueError(f"the head over the vocabulary is a {type(head).__name__}, not a linear layer")
    logprobs, entropies = _HeadLogprobs.apply(states, head.weight, head.bias, targets, temperature, cap, known)  # type: ignore[no-untyped-call]
    return logprobs, entropies


class _HeadLogprobs(torch.autograd.Function):
    """With p = softmax(z): d logp_t / dz = onehot_t - p, and d H / dz = -p (log p + H); z = soft_cap(Wx + b) / T."""

    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature: float,
        cap: float | None,
        known: int | None,
    ) -> tuple[Tensor, Tensor]:
        kind = states.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states.dtype
        logprobs = states.new_empty(len(states), dtype=torch.promote_types(states.dtype, torch.float32))
        entropies = torch.empty_like(logprobs)
        matrix, offsets = weight[:known].to(dtype), None if bias is None else bias[:known]
        for part in _parts(states, weight):
            logits = soft_cap(_logits(states[part].to(dtype), matrix, offsets), cap)
            logs = logits.div_(temperature).log_softmax(dim=-1)
            logprobs[part] = logs.gather(1, targets[part, None]).squeeze(1)
            entropies[part] = -torch.linalg.vecdot(logs.exp(), logs)
        ctx.save_for_backward(states, weight, bias, targets, entropies)
        ctx.set_materialize_grads(False)
        ctx.dtype, ctx.temperature, ctx.cap, ctx.known = dtype, temperature, cap, known
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, of_logprobs: Tensor | None, of_entropies: Tensor | None) -> tuple[Tensor | None, ...]:
        states, weight, bias, targets, entropies = ctx.saved_tensors
        if of_logprobs is None:
            of_logprobs = torch.zeros_like(entropies)
        matrix, offsets = weight[: ctx.known].to(ctx.dtype), None if bias is None else bias[: ctx.known]
        of_states = torch.empty_like(states)
        of_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        of_bias = torch.zeros_like(bias) if ctx.needs_input_grad[2] else None
        for part in _parts(states, weight):
            inputs = states[part].to(ctx.dtype)
            logits = soft_cap(_logits(inputs, matrix, offsets), ctx.cap)
            slope = soft_cap_slope(logits, ctx.cap)
            logits = logits.div_(ctx.temperature)
            if of_entropies is None:
                of_logits = logits.softmax(dim=-1).mul_(-of_logprobs[part, None])
            else:
                logs = logits.log_softmax(dim=-1)
                of_logits = logs.exp()
                logs.add_(entropies[part, None]).mul_(of_entropies[part, None]).add_(of_logprobs[part, None])
                of_logits.mul_(logs.neg_())
            of_logits.scatter_add_(1, targets[part, None], of_logprobs[part, None]).mul_(slope / ctx.temperature)
            if of_bias is not None:
                of_bias[: ctx.known] += of_logits.sum(dim=0)
            of_logits = of_logits.to(ctx.dtype)
            of_states[part] = (of_logits @ matrix).to(states.dtype)
            if of_weight is not None:
                _add_product(of_weight[: ctx.known], of_logits.T, inputs)
        return of_states, of_weight, of_bias, None, None, None, None


def _logits(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    logits = states @ weight.T
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if bias is not None:
        logits += bias
    return logits


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add a product in place; only mixed precision needs it by itself first."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


def _parts(states: Tensor, weight: Tensor) -> list[slice]:
    size = max(CHUNK_LOGITS[states.device.type] // len(weight), LEAST_ROWS)
    return [slice(start, start + size) for start in range(0, len(states), size)]
