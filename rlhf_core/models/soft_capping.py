"""Soft caps, which keep scores and logits of Gemma 2 and its kin within bounds (Gemma Team, 2024, section 2)."""

import torch
from torch import Tensor
from transformers import PreTrainedConfig


def soft_cap(values: Tensor, cap: float | None) -> Tensor:
    """Values of any shape as cap * tanh(values / cap): the same near 0, never beyond the cap. None caps nothing."""
    return values if cap is None else cap * torch.tanh(values / cap)


def soft_cap_slope(capped: Tensor, cap: float | None) -> Tensor | float:
    """Derivative of `soft_cap` where it gave these values: 1 - (capped / cap)^2."""
    return 1.0 if cap is None else 1.0 - (capped / cap).square()


def score_cap(config: PreTrainedConfig) -> float | None:
    """The cap on attention scores of a model, None where there is none."""
    cap: float | None = getattr(config.get_text_config(), "attn_logit_softcapping", None)
    return cap


def capped_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, cap: float, scale: float | None
) -> Tensor:
    """Attention whose scores are capped before the mask; no fused kernel has it, so all scores exist at once.

    Args:
        query: shape ``[B, H, N, D]``.
        key: shape ``[B, K, T, D]``; K divides H.
        value: as the keys.
        mask: of a shape that fits ``[B, H, N, T]``; bool, True where a query sees a key, or float, added to the scores.
            None: the last query stands at the last key and sees all before it, the others accordingly.
        cap: of the scores.
        scale: factor of the products of queries and keys; None for ``D ** -0.5``.

    Returns:
        Shape ``[B, H, N, D]``.
    """
    groups = query.shape[1] // key.shape[1]
    keys, values = (states.repeat_interleave(groups, dim=1) for states in (key, value))
    products = query @ keys.transpose(2, 3)
    products = products.to(torch.promote_types(products.dtype, torch.float32))
    scores = soft_cap(products * (query.shape[-1] ** -0.5 if scale is None else scale), cap)
    if mask is None:
        n_queries, n_keys = scores.shape[-2:]
        mask = torch.ones((n_queries, n_keys), dtype=torch.bool, device=scores.device).tril(n_keys - n_queries)
    scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(dim=-1).to(values.dtype) @ values
