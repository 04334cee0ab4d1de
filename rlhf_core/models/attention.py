"""Attention over trees of tokens laid end to end without padding, for any architecture with a hook in `transformers`.

A forward pass over a row of N real tokens costs what its tokens cost: a response attends to its prompt and itself only,
and responses to the same prompt share it.
"""

from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from rlhf_core.data.packing import Row, lay
from rlhf_core.data.tokenizer import Tree
from rlhf_core.models.flash_attention import fits, row_attention
from rlhf_core.models.kv_cache import KVCache
from rlhf_core.models.rotary import check_positions, steady_positions
from rlhf_core.models.soft_capping import capped_attention

as_it_is = partial(torch.compiler.set_stance, "force_eager")
"""Context in which layers that `fuse` has marked run as they are: a cache would be compiled for each of its states."""

RAGGED = "ragged"
"""Name under which `transformers` knows this attention; one with `sdpa` in it would be refused to Gemma 2."""


@torch.compiler.disable  # type: ignore[untyped-decorator]
def ragged_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    row: Row | None = None,
    kv_cache: KVCache | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention within each tree of a row, or of a token to its sequence; ordinary attention where neither is given.

    Args:
        module: attention layer.
        query: shape ``[1, H, N, D]`` for the N tokens of a row, ``[B, H, 1, D]`` for a token of each sequence.
        key: shape ``[1, K, N, D]`` or ``[B, K, T, D]``; K divides H.
        value: as the keys.
        attention_mask: read only where neither row nor cache is given.
        row: says which tokens see each other.
        kv_cache: where each of the B tokens finds what came before it.
        sliding_window: how many tokens, itself included, a token of this layer sees; None for all.
        softcap: cap on the scores, which no fused kernel has; None for none.
        options: whatever else the architecture passes to SDPA.

    Returns:
        Shape ``[1, N, H, D]`` or ``[B, 1, H, D]``, and None for the attention weights.

    Raises:
        ValueError: if the architecture asks for attention sinks or biases by position.
    """
    if missing := [name for name in ("s_aux", "position_bias") if options.get(name) is not None]:
        raise ValueError(f"attention over rows has no {', '.join(missing)}, which {type(module).__name__} asks for")
    if kv_cache is not None:
        mask = kv_cache.mask(sliding_window, query.dtype)
        return _slot_attention(query, key, value, mask, softcap=softcap, **options), None
    if row is None:
        return _attend(module, query, key, value, attention_mask, softcap=softcap, **options), None
    if softcap is None and fits(query):
        return row_attention(query, key, value, row, sliding_window=sliding_window, **options), None
    masks = row.masks if sliding_window is None else _within(row, sliding_window)
    trees = zip(*(tensor.split(row.lengths, dim=2) for tensor in (query, key, value)), masks, strict=True)
    outputs = [
        _attend(module, q, k, v, None if mask is None else mask[None, None], softcap=softcap, **options)
        for q, k, v, mask in trees
    ]
    return torch.cat(outputs, dim=1), None


def ragged_states(model: PreTrainedModel, row: Row, kv_cache: KVCache | None = None) -> Tensor:
    """Final hidden states of a row, shape ``[N, D]``.

    Args:
        model: prepared by `use_ragged_attention`.
        row: N tokens.
        kv_cache: an empty one, which keeps what a continuation of each tree needs.

    Raises:
        ValueError: if the model was not prepared, so that responses would see each other, or its positions would
            depend on what is read together.
    """
    if model.config._attn_implementation != RAGGED:
        raise ValueError(f"{type(model).__name__} was not prepared by use_ragged_attention")
    if steady_positions(model.config) is not None:
        check_positions(model.config, int(row.positions.max()) + 1)
    with nullcontext() if kv_cache is None else as_it_is():
        output = model.base_model(
            input_ids=row.ids[None],
            attention_mask=_no_mask(model),
            position_ids=row.positions[None],
            row=row,
            past_key_values=kv_cache,
            use_cache=kv_cache is not None,
        )
    states: Tensor = output.last_hidden_state[0]
    return states


def next_states(model: PreTrainedModel, ids: Tensor, kv_cache: KVCache) -> Tensor:
    """Final hidden states of one more token of each of B sequences, shape ``[B, D]``.

    Args:
        model: prepared by `use_ragged_attention`.
        ids: the tokens, shape ``[B]``, int64.
        kv_cache: what came before, filled by `ragged_states` first; takes the tokens up.
    """
    with as_it_is():
        output = model.base_model(
            input_ids=ids[:, None],
            attention_mask=_no_mask(model),
            position_ids=kv_cache.lengths[:, None],
            kv_cache=kv_cache,
            past_key_values=kv_cache,
            use_cache=True,
        )
    kv_cache.advance()
    states: Tensor = output.last_hidden_state[:, 0]
    return states


@torch.inference_mode()
def use_ragged_attention(model: PreTrainedModel) -> None:
    """Let a model take rows; its weights and its saved configuration stay as they are.

    Raises:
        ValueError: if the architecture attends in another way than this module, or does not keep responses apart, as a
            trial shows.
    """
    ids = [1, 0, 0, 1, 1]
    expected = model.base_model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).last_hidden_state
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
    if not torch.allclose(ragged_states(model, lay([Tree(ids, [])], model.device)), expected[0], rtol=1e-3, atol=1e-3):
        raise ValueError(
            f"{type(model).__name__} asks of its attention what this one does not do, so it cannot be trained here"
        )


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    softcap: float | None,
    scaling: float | None = None,
    **options: Any,
) -> Tensor:
    """Attention of one sequence or a batch as `transformers` has it, shape ``[B, N, H, D]``."""
    if softcap is None:
        output: Tensor = sdpa_attention_forward(module, query, key, value, mask, scaling=scaling, **options)[0]
        return output
    return capped_attention(query, key, value, mask, cap=softcap, scale=scaling).transpose(1, 2).contiguous()


def _slot_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    *,
    softcap: float | None,
    scaling: float | None = None,
    **options: Any,
) -> Tensor:
    """Attention of one token of each sequence; heads that share keys ask them together, so that these are read once."""
    batch, heads, _, width = query.shape
    together = query.view(batch, key.shape[1], heads // key.shape[1], width)
    if softcap is None:
        output = functional.scaled_dot_product_attention(together, key, value, attn_mask=mask, scale=scaling)
    else:
        output = capped_attention(together, key, value, mask, cap=softcap, scale=scaling)
    return output.reshape(batch, 1, heads, value.shape[-1])


def _no_mask(model: PreTrainedModel) -> Tensor:
    """Four dimensions keep `transformers` from building a mask; `ragged_attention` knows better."""
    return torch.ones((1, 1, 1, 1), dtype=torch.bool, device=model.device)


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
