"""The training loop: passes over a fixed set of items, batch by batch, resumed where they were cut off."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import TypeVar

from transformers import PreTrainedModel

from rlhf_core.config.optimiser import OptimiserConfig
from rlhf_core.data.batching import shuffled_batches
from rlhf_core.distributed import Loss
from rlhf_core.training.checkpoint import Checkpoints
from rlhf_core.training.doing import doing
from rlhf_core.training.optimiser import Optimiser
from rlhf_core.training.stage import Event

Item = TypeVar("Item")


def fit(
    model: PreTrainedModel,
    items: Sequence[Item],
    config: OptimiserConfig,
    checkpoints: Checkpoints,
    *,
    size: Callable[[Item], int],
    loss: Callable[[list[Item]], Loss],
    epochs: int,
    batch_size: int,
    seed: int,
) -> Iterator[Event]:
    """Train a model, one optimiser step for each batch of items.

    Args:
        model: trained in place.
        items: what is learned from.
        config: of the optimiser.
        checkpoints: where the state is kept, and read from at the start.
        size: tokens of an item.
        loss: of the items of an optimiser batch.
        epochs: passes over the items.
        batch_size: items in an optimiser step.
        seed: seed of the order.

    Yields:
        The figures of the loss over the optimiser batch, and `lr`.
    """
    steps = epochs * math.ceil(len(items) / batch_size)
    optimiser = Optimiser(model, config, steps)
    parts = {"model": optimiser}
    done = checkpoints.restore(parts).get("step", 0)
    doing(f"step {done} of {steps - 1} begins, each on {min(batch_size, len(items)):,} of {len(items):,} items")
    passes = (shuffled_batches(len(items), batch_size, epoch=epoch, seed=seed) for epoch in range(epochs))
    for step, indices in islice(enumerate(chain.from_iterable(passes)), done, None):
        batch = [items[index] for index in indices]
        lr = optimiser.lr
        figures = optimiser.accumulate(list(map(size, batch)), loss(batch))
        optimiser.step()
        yield Event(step, {**figures, "lr": lr}, steps - 1)
        checkpoints.keep(parts, {"step": step + 1})
