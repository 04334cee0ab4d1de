"""Log-probabilities and entropies over a vocabulary of any size, without ever holding all logits."""

from typing import Any

import torch
from torch import Tensor, nn

CHUNK_LOGITS = 2**24
"""Logits that exist at a time: 64 MiB in float32."""


def head_logprobs(
    states: Tensor, head: nn.Module, targets: Tensor, *, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Log-probability of each target and entropy of its distribution, softmax(head(states) / temperature).

    Logits exist chunk by chunk, once more in the backward pass, so that memory does not grow with the vocabulary.

    Args:
        states: final hidden states, shape ``[R, D]``.
        head: linear layer from D to the vocabulary of V.
        targets: token ids, shape ``[R]``, int64.
        temperature: divides the logits.

    Returns:
        Log-probabilities and entropies, both shape ``[R]``, float32 at least, nats.

    Raises:
        ValueError: if the head is not linear.
    """
    if not isinstance(head, nn.Linear):
        raise ValueError(f"the head over the vocabulary is a {type(head).__name__}, not a linear layer")
    logprobs, entropies = _HeadLogprobs.apply(states, head.weight, head.bias, targets, temperature)  # type: ignore[no-untyped-call]
    return logprobs, entropies


class _HeadLogprobs(torch.autograd.Function):
    """With p = softmax(z): d logp_t / dz = onehot_t - p, and d H / dz = -p (log p + H)."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor]:
        kind = states.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states.dtype
        logprobs = states.new_empty(len(states), dtype=torch.promote_types(states.dtype, torch.float32))
        entropies = torch.empty_like(logprobs)
        normalisers = torch.empty_like(logprobs)
        matrix = weight.to(dtype)
        for part in _parts(len(states), len(weight)):
            logits = _logits(states[part].to(dtype), matrix, bias, temperature)
            normalisers[part] = logits.logsumexp(dim=-1)
            logprobs[part] = logits.gather(1, targets[part, None]).squeeze(1) - normalisers[part]
            probabilities = (logits - normalisers[part, None]).exp_()
            entropies[part] = normalisers[part] - torch.linalg.vecdot(probabilities, logits)
        ctx.save_for_backward(states, weight, bias, targets, normalisers, entropies)
        ctx.dtype, ctx.temperature = dtype, temperature
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        of_logprobs, of_entropies = gradients
        states, weight, bias, targets, normalisers, entropies = ctx.saved_tensors
        matrix = weight.to(ctx.dtype)
        of_states = torch.empty_like(states)
        of_weight = torch.zeros_like(weight)
        of_bias = None if bias is None else torch.zeros_like(bias)
        for part in _parts(len(states), len(weight)):
            inputs = states[part].to(ctx.dtype)
            logs = _logits(inputs, matrix, bias, ctx.temperature) - normalisers[part, None]
            probabilities = logs.exp()
            of_logits = logs.add_(entropies[part, None]).mul_(-of_entropies[part, None]).sub_(of_logprobs[part, None])
            of_logits.mul_(probabilities)
            of_logits.scatter_add_(1, targets[part, None], of_logprobs[part, None]).div_(ctx.temperature)
            if of_bias is not None:
                of_bias += of_logits.sum(dim=0)
            of_logits = of_logits.to(ctx.dtype)
            of_states[part] = (of_logits @ matrix).to(states.dtype)
            of_weight += of_logits.T @ inputs
        return of_states, of_weight, of_bias, None, None


def _logits(states: Tensor, weight: Tensor, bias: Tensor | None, temperature: float) -> Tensor:
    logits = states @ weight.T
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if bias is not None:
        logits += bias
    return logits.div_(temperature)


def _parts(count: int, vocabulary: int) -> list[slice]:
    size = max(CHUNK_LOGITS // vocabulary, 1)
    return [slice(start, start + size) for start in range(0, count, size)]
