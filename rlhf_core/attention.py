"""Attention over sequences laid end to end without padding, for any architecture that `transformers` lets us hook.

A forward pass over one row of N real tokens costs what its tokens cost; each sequence attends to itself only.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

RAGGED = "ragged_sdpa"
"""Name under which `transformers` knows this attention."""


def ragged_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    sequence_lengths: list[int] | None = None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Causal attention of every sequence to itself; ordinary SDPA where no lengths are given, as in sampling.

    Args:
        module: attention layer.
        query: shape ``[1, H, N, D]`` for N tokens of all sequences.
        key: shape ``[1, K, N, D]``; K divides H.
        value: shape ``[1, K, N, D]``.
        attention_mask: read only where no lengths are given.
        sequence_lengths: tokens of each sequence, in order, N in total.
        sliding_window: how many tokens, itself included, a token of this layer sees; None for all.
        options: whatever else the architecture passes to SDPA.

    Returns:
        Shape ``[1, N, H, D]``, and None for the attention weights.
    """
    if sequence_lengths is None:
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return output, None
    sequences = zip(*(tensor.split(sequence_lengths, dim=2) for tensor in (query, key, value)), strict=True)
    outputs = [
        sdpa_attention_forward(module, q, k, v, _window_mask(q, sliding_window), **options)[0] for q, k, v in sequences
    ]
    return torch.cat(outputs, dim=1), None


def ragged_states(model: PreTrainedModel, sequences: Sequence[Tensor]) -> Tensor:
    """Final hidden states of sequences that go through the model as one row.

    Args:
        model: prepared by `use_ragged_attention`.
        sequences: ids of each sequence, not empty.

    Returns:
        Shape ``[N, D]`` for the N tokens of all sequences, in order.

    Raises:
        ValueError: if the model was not prepared, so that sequences would see each other.
    """
    if model.config._attn_implementation != RAGGED:
        raise ValueError(f"{type(model).__name__} was not prepared by use_ragged_attention")
    output = model.base_model(
        input_ids=torch.cat(list(sequences))[None],
        attention_mask=torch.ones((1, 1, 1, 1), dtype=torch.bool, device=model.device),  # 4 dimensions: none is built
        position_ids=torch.cat([torch.arange(len(ids), device=model.device) for ids in sequences])[None],
        sequence_lengths=[len(ids) for ids in sequences],
        use_cache=False,
    )
    states: Tensor = output.last_hidden_state[0]
    return states


@torch.inference_mode()
def use_ragged_attention(model: PreTrainedModel) -> None:
    """Let a model take sequences without padding; its weights and its saved configuration stay as they are.

    Raises:
        ValueError: if the architecture does not keep the sequences apart, as a trial shows.
    """
    model.set_attn_implementation(RAGGED)
    first, second = (torch.tensor(ids, device=model.device) for ids in ([1, 0, 1], [0, 1]))
    together = ragged_states(model, [first, second])
    apart = torch.cat([ragged_states(model, [ids]) for ids in (first, second)])
    if not torch.allclose(together, apart, rtol=1e-3, atol=1e-3):
        raise ValueError(
            f"{type(model).__name__} lets sequences in one row see each other: its attention does not go through the "
            "attention interface of transformers, so it cannot be trained here"
        )


def _window_mask(query: Tensor, window: int | None) -> Tensor | None:
    """True where a token sees another, shape ``[1, 1, L, L]``; None where plain causality says it all."""
    length = query.shape[2]
    if window is None or length <= window:
        return None
    distance = torch.arange(length, device=query.device)[:, None] - torch.arange(length, device=query.device)[None, :]
    return ((distance >= 0) & (distance < window))[None, None]


AttentionInterface.register(RAGGED, ragged_attention)
AttentionMaskInterface.register(RAGGED, sdpa_mask)
