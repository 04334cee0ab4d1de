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

from rlhf_core.data.packing import Row, lay
from rlhf_core.data.tokenizer import Tree
from rlhf_core.models.flash_attention import fits, row_attention
from rlhf_core.models.kv_cache import KVCache
from rlhf_core.models.soft_capping import capped_attention
from rlhf_core.models.trial import Trial, same
from rlhf_core.models.trunk import cache_name, trunk
from rlhf_core.models.visibility import CAUSAL, Visibility

as_it_is = partial(torch.compiler.set_stance, "force_eager")
"""Context in which layers that `fuse` has marked run as they are: a cache would be compiled for each of its states."""

PARTICULAR = {"s_aux": "attention sinks", "position_bias": "biases by position"}
"""What architectures ask of an attention that rows have not, by the names of the arguments."""

RAGGED = "ragged"
"""Name under which `transformers` knows this attention; one with `sdpa` in it would be refused to Gemma 2."""


STEPS = 3
"""Tokens that are read one by one in a trial."""


class RowError(ValueError):
    """An architecture cannot be computed by rows; the text says why, for people."""


@torch.compiler.disable  # type: ignore[untyped-decorator]
def ragged_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Visibility | Tensor | None,
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
        attention_mask: what the layer sees of what came before; None for all.
        row: says which tokens see each other.
        kv_cache: where each of the B tokens finds what came before it.
        sliding_window: the window of the layer, for kernels that build no mask; the mask decides.
        softcap: cap on the scores, which no fused kernel has; None for none.
        options: whatever else the architecture passes to SDPA.

    Returns:
        Shape ``[1, N, H, D]`` or ``[B, 1, H, D]``, and None for the attention weights.

    Raises:
        RowError: if the architecture asks for attention sinks or biases by position, or makes a mask of its own.
    """
    if missing := [PARTICULAR[name] for name in PARTICULAR if options.get(name) is not None]:
        raise RowError(f"its attention has {', '.join(missing)}")
    if row is None and kv_cache is None:
        mask = attention_mask.built() if isinstance(attention_mask, Visibility) else attention_mask
        return _attend(module, query, key, value, mask, softcap=softcap, **options), None
    if isinstance(attention_mask, Tensor):
        raise RowError("it makes a mask of its own for its attention")
    visibility = CAUSAL if attention_mask is None else attention_mask
    if kv_cache is not None:
        mask = kv_cache.mask(visibility, query.dtype)
        return _slot_attention(query, key, value, mask, softcap=softcap, **options), None
    assert row is not None
    window = sliding_window if visibility.hides(max(row.longest)) else None
    if softcap is None and fits(query) and visibility.is_window(window, max(row.longest)):
        return row_attention(query, key, value, row, sliding_window=window, **options), None
    trees = zip(
        *(tensor.split(row.lengths, dim=2) for tensor in (query, key, value)), visibility.masks(row), strict=True
    )
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
        ValueError: if the model was not prepared, so that responses would see each other.
    """
    if model.config._attn_implementation != RAGGED:
        raise ValueError(f"{type(model).__name__} was not prepared by use_ragged_attention")
    body = trunk(model)
    caches: dict[str, Any] = {cache_name(body): kv_cache}
    with nullcontext() if kv_cache is None else as_it_is():
        output = body(
            input_ids=row.ids[None],
            attention_mask=torch.ones_like(row.ids[None]),
            position_ids=row.positions[None],
            row=row,
            use_cache=kv_cache is not None,
            **caches,
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
    body = trunk(model)
    caches: dict[str, Any] = {cache_name(body): kv_cache}
    with as_it_is():
        output = body(
            input_ids=ids[:, None],
            attention_mask=torch.ones_like(ids[:, None]),
            position_ids=kv_cache.lengths[:, None],
            kv_cache=kv_cache,
            use_cache=True,
            **caches,
        )
    kv_cache.advance()
    states: Tensor = output.last_hidden_state[:, 0]
    return states


@torch.no_grad()
def use_ragged_attention(model: PreTrainedModel, trial: Trial | None = None) -> None:
    """Let a model take rows; its weights and its saved configuration stay as they are.

    Args:
        model: with the attention that `transformers` gave it.
        trial: what it says so; None for one that is made here.

    Raises:
        RowError: if a row of the model does not say the same.
    """
    trial = trial or Trial(model)
    model.set_attn_implementation(RAGGED)
    together = ragged_states(model, lay(trial.trees, model.device))
    apart = [ragged_states(model, lay([Tree(ids, [])], model.device)) for ids in trial.sequences]
    if not all(same(*pair) for pair in zip(apart, trial.states, strict=True)):
        raise RowError("its attention is another than that of rows")
    if not same(together, trial.row_states):
        raise RowError("responses in one row would see each other: its attention does not go through the interface")
    ids = [sequence[-STEPS:] for sequence in trial.sequences]
    prompts = [Tree(sequence[:-STEPS], []) for sequence in trial.sequences]
    cache = KVCache([tree.size for tree in prompts], STEPS, model.device)
    ragged_states(model, lay(prompts, model.device), cache)
    for step in range(STEPS):
        states = next_states(model, torch.tensor([tokens[step] for tokens in ids], device=model.device), cache)
        expected = torch.stack([states[step - STEPS] for states in trial.states])
        if not same(states, expected):
            raise RowError("its cache is another than that of rows")


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


AttentionInterface.register(RAGGED, ragged_attention)

AttentionMaskInterface.register(RAGGED, Visibility)
