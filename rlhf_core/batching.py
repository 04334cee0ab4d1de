"""Which sequences go together: shuffled optimiser batches, cut into micro-batches of similar length."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """Right-padded sequences.

    Attributes:
        ids: token ids, shape ``[B, L]``, int64.
        mask: True where a token is real, shape ``[B, L]``, bool.
    """

    ids: Tensor
    mask: Tensor


def pad(sequences: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> Batch:
    """Right-pad sequences of ids to the longest.

    Args:
        sequences: at least one non-empty sequence of ids.
        pad_id: id that fills up; the mask, not this id, says what is real.
        device: where the tensors go.

    Returns:
        The padded ids with their mask.
    """
    longest = max(map(len, sequences))
    ids = torch.full((len(sequences), longest), pad_id, dtype=torch.long)
    mask = torch.zeros((len(sequences), longest), dtype=torch.bool)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.tensor(sequence, dtype=torch.long)
        mask[row, : len(sequence)] = True
    return Batch(ids.to(device), mask.to(device))


def response_mask(batch: Batch, prompt_lengths: Sequence[int]) -> Tensor:
    """True where a token belongs to the response, shape ``[B, L]``."""
    starts = torch.tensor(prompt_lengths, device=batch.mask.device)[:, None]
    return batch.mask & (torch.arange(batch.mask.shape[1], device=batch.mask.device)[None, :] >= starts)


def shuffled_batches(count: int, batch_size: int, *, epoch: int, seed: int) -> Iterator[list[int]]:
    """Optimiser batches of one epoch, a function of seed and epoch only, so that a run can be resumed anywhere.

    Args:
        count: items to draw from.
        batch_size: items in a batch; the last one may be smaller.
        epoch: number of the epoch, which changes the order.
        seed: seed of the run.

    Yields:
        Indices of the items of a batch.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order: list[int] = torch.randperm(count, generator=generator).tolist()
    for start in range(0, count, batch_size):
        yield order[start : start + batch_size]


def token_batches(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Group items of similar length so that no group, padded to its longest, exceeds a budget of tokens.

    Args:
        lengths: tokens of each item.
        max_tokens: padded tokens of a group; an item longer than that is a group of its own.

    Returns:
        Groups of positions in `lengths`, shortest items first; each position exactly once.
    """
    groups: list[list[int]] = []
    for position in sorted(range(len(lengths)), key=lengths.__getitem__):
        if groups and (len(groups[-1]) + 1) * lengths[position] <= max_tokens:
            groups[-1].append(position)
        else:
            groups.append([position])
    return groups
