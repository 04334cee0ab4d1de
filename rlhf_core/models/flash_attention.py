"""Flash attention over a whole row at once: on accelerators a call for each tree is too small."""

from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

from rlhf_core.data.packing import Row

WIDEST = 256
"""Head dimension above which the kernel refuses to work."""

MULTIPLE = 8
"""What a head dimension must be a multiple of."""


def fits(query: Tensor) -> bool:
    """Whether the kernel takes such queries, shape ``[1, H, N, D]``: half precision on CUDA."""
    return (
        query.device.type == "cuda"
        and _dtype(query) in (torch.bfloat16, torch.float16)
        and query.shape[-1] <= WIDEST
        and query.shape[-1] % MULTIPLE == 0
    )


def row_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    row: Row,
    *,
    sliding_window: int | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> Tensor:
    """Attention within each tree of a row; keys of a prompt are repeated for each further response, queries are not.

    Args:
        query: shape ``[1, H, N, D]`` for the N tokens of the row.
        key: shape ``[1, K, N, D]``; K divides H.
        value: as the keys.
        row: says which tokens see each other.
        sliding_window: how many tokens, itself included, a token of this layer sees; None for all.
        scaling: factor of the products of queries and keys; None for ``D ** -0.5``.
        dropout: must be 0.
        options: whatever else the architecture passes to attention.

    Returns:
        Shape ``[1, N, H, D]``.

    Raises:
        ValueError: if the architecture asks for dropout, capped scores, sinks or biases by position.
    """
    missing = ["dropout"] if dropout > 0.0 else []
    missing += [name for name in ("softcap", "s_aux", "position_bias") if options.get(name) is not None]
    if missing:
        raise ValueError(f"attention over a whole row has no {', '.join(missing)}, which this architecture asks for")
    segments = row.segments
    groups = query.shape[1] // key.shape[1]
    queries, keys, values = (states[0].transpose(0, 1).to(_dtype(query)) for states in (query, key, value))
    output: Tensor = varlen_attn(  # type: ignore[assignment]
        queries,
        keys[segments.indices].repeat_interleave(groups, dim=1),
        values[segments.indices].repeat_interleave(groups, dim=1),
        segments.queries,
        segments.keys,
        segments.most_queries,
        segments.most_keys,
        scale=scaling,
        window_size=(-1 if sliding_window is None else sliding_window - 1, 0),
    )
    return output[None]


def _dtype(states: Tensor) -> torch.dtype:
    kind = states.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states.dtype
