"""Attention over a whole row in one call, for accelerators, where a kernel for each tree would be too small."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from rlhf_core.batching import Row

NARROWEST = 16
"""Head dimension below which the kernel of an accelerator refuses to work."""


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
    """Attention within each tree of a row by `flex_attention`, compiled on an accelerator.

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
    asked = ["dropout"] if dropout > 0.0 else []
    asked += [name for name in ("softcap", "s_aux", "position_bias") if options.get(name) is not None]
    if asked:
        raise ValueError(f"attention over a whole row has no {', '.join(asked)}, which this architecture asks for")
    kind = query.device.type
    if torch.is_autocast_enabled(kind):
        query, key, value = (states.to(torch.get_autocast_dtype(kind)) for states in (query, key, value))
    attend = _compiled() if kind == "cuda" else flex_attention
    mask = block_mask(row, sliding_window)
    grouped = key.shape[1] != query.shape[1]
    output: Tensor = attend(query, key, value, block_mask=mask, scale=scaling, enable_gqa=grouped)
    return output.transpose(1, 2)


def block_mask(row: Row, window: int | None) -> BlockMask:
    """Who sees whom in a row, in a layer that sees so many tokens (None: all); made once and kept with the row."""
    if window not in row.block_masks:
        count = len(row.ids)
        row.block_masks[window] = create_block_mask(_visible(row, window), None, None, count, count, row.ids.device)
    return row.block_masks[window]


def _visible(row: Row, window: int | None) -> Callable[..., Tensor]:
    """A token sees the prompt and its own response of its own tree, up to itself and as far back as the window.

    Only tensors are captured, so that one compiled kernel serves all rows and windows.
    """
    branches, positions = row.branches, row.positions
    trees = torch.repeat_interleave(torch.tensor(row.lengths, device=positions.device))
    oldest = torch.zeros_like(positions) if window is None else positions - window + 1

    def visible(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        of_prompt_or_same = (branches[key] == 0) | (branches[key] == branches[query])
        near = (positions[key] <= positions[query]) & (positions[key] >= oldest[query])
        return (trees[key] == trees[query]) & of_prompt_or_same & near

    return visible


@cache
def _compiled() -> Any:
    return torch.compile(flex_attention, dynamic=True)
