"""Which responses go through a model together, and how they lie there: end to end in one row, without padding."""

import itertools
from collections.abc import Iterator, Sequence

import torch


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


def endless_batches(count: int, size: int, *, seed: int) -> Iterator[list[int]]:
    """Batches of as many passes over the items as somebody takes, each pass in an order of its own."""
    passes = (shuffled_batches(count, size, epoch=epoch, seed=seed) for epoch in itertools.count())
    return itertools.chain.from_iterable(passes)


def similar_batches(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
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
