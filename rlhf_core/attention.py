"""Attention over trees of tokens laid end to end without padding, for any architecture with a hook in `transformers`.

A forward pass over a row of N real tokens costs what its tokens cost: a response attends to its prompt and itself only,
and responses to the same prompt share it.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from rlhf_core.batching import Row, lay
from rlhf_core.text import Tree

RAGGED = "ragged_sdpa"
"""Name under which `transformers` knows this attention."""


def ragged_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    row: Row | None = None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention within each tree of a row; ordinary SDPA where no row is given, as in sampling.

    Args:
        module: attention layer.
        query: shape ``[1, H, N, D]`` for the N tokens of the row.
        key: shape ``[1, K, N, D]``; K divides H.
        value: shape ``[1, K, N, D]``.
        attention_mask: read only where no row is given.
        row: says which tokens see each other.
        sliding_window: how many tokens, itself included, a token of this layer sees; None for all.
        options: whatever else the architecture passes to SDPA.

    Returns:
        Shape ``[1, N, H, D]``, and None for the attention weights.
    """
    if row is None:
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return output, None
    masks = row.masks if sliding_window is None else _within(row, sliding_window)
    trees = zip(*(tensor.split(row.lengths, dim=2) for tensor in (query, key, value)), masks, strict=True)
    outputs = [
        sdpa_attention_forward(module, q, k, v, None if mask is None else mask[None, None], **options)[0]
        for q, k, v, mask in trees
    ]
    return torch.cat(outputs, dim=1), None


def ragged_states(model: PreTrainedModel, row: Row) -> Tensor:
    """Final hidden states of a row, shape ``[N, D]``.

    Args:
        model: prepared by `use_ragged_attention`.
        row: N tokens.

    Raises:
        ValueError: if the model was not prepared, so that responses would see each other.
    """
    if model.config._attn_implementation != RAGGED:
        raise ValueError(f"{type(model).__name__} was not prepared by use_ragged_attention")
    output = model.base_model(
        input_ids=row.ids[None],
        attention_mask=torch.ones((1, 1, 1, 1), dtype=torch.bool, device=model.device),  # 4 dimensions: none is built
        position_ids=row.positions[None],
        row=row,
        use_cache=False,
    )
    states: Tensor = output.last_hidden_state[0]
    return states


@torch.inference_mode()
def use_ragged_attention(model: PreTrainedModel) -> None:
    """Let a model take rows; its weights and its saved configuration stay as they are.

    Raises:
        ValueError: if the architecture does not keep responses apart, as a trial shows.
    """
    model.set_attn_implementation(RAGGED)
    trees = [Tree([1, 0], [[1, 0], [0, 1, 1]]), Tree([0], [[1]])]
    together = ragged_states(model, lay(trees, model.device))
    alone = [
        ragged_states(model, lay([Tree(tree.prompt, [response])], model.device))
        for tree in trees
        for response in tree.responses
    ]
    apart = torch.cat([alone[0], alone[1][2:], alone[2]])
    if not torch.allclose(together, apart, rtol=1e-3, atol=1e-3):
        raise ValueError(
            f"{type(model).__name__} lets responses in one row see each other: its attention does not go through the "
            "attention interface of transformers, so it cannot be trained here"
        )


def _within(row: Row, window: int) -> list[Tensor | None]:
    """The masks of a row for a layer that sees only so many tokens."""
    masks = []
    for mask, positions in zip(row.masks, row.positions.split(row.lengths), strict=True):
        distance = positions[:, None] - positions[None, :]
        plain = distance >= 0 if mask is None else mask
        masks.append(mask if int(positions.max()) < window else plain & (distance < window))
    return masks


AttentionInterface.register(RAGGED, ragged_attention)
AttentionMaskInterface.register(RAGGED, sdpa_mask)
