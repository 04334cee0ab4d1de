"""Distributed training: items, weights and sums of all ranks. One process is one rank, which sends nothing.

Every rank knows the whole optimiser batch and takes its share of it; sums over ranks are those of one process. DDP
keeps whole weights on every rank; FSDP2 shards them, and whoever reads a model outside a training step gathers it once.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast_object_list, gather_object, parse_flag_from_env
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel
from transformers import PreTrainedModel


def token_batches(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Cut items, in their order, into groups that do not exceed a budget of tokens.

    Args:
        lengths: tokens of each item.
        max_tokens: tokens of a group; an item longer than that is a group of its own.

    Returns:
        Groups of positions in `lengths`, each position exactly once.
    """
    groups: list[list[int]] = []
    total = 0
    for position, length in enumerate(lengths):
        if not groups or total + length > max_tokens:
            groups.append([])
            total = 0
        groups[-1].append(position)
        total += length
    return groups


Model = TypeVar("Model", bound=PreTrainedModel)

Found = TypeVar("Found")

LossFigures = Mapping[str, Tensor]

Loss = Callable[[Any, list[int]], tuple[Tensor, LossFigures]]
"""Of a model and positions of items: what is minimised and what is reported, both parts of sums over the batch."""


_COPIES: WeakKeyDictionary[PreTrainedModel, PreTrainedModel] = WeakKeyDictionary()
"""For each sharded model one of the same shape without weights, which `whole` fills."""


@contextmanager
def joined() -> Iterator[None]:
    """Belong to the group of ranks that `accelerate launch` or torchrun started; they set the environment."""
    state = PartialState(cpu=not torch.cuda.is_available())
    yield
    wait()
    state.destroy_process_group()


def ranks() -> int:
    """How many processes run this stage."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def rank() -> int:
    """Number of this process; rank 0 alone writes files."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def wait() -> None:
    """Go on when every rank has come here."""
    if ranks() > 1:
        PartialState().wait_for_everyone()


def from_first(value: Found) -> Found:
    """The value that rank 0 has."""
    values: list[Found] = broadcast_object_list([value]) if ranks() > 1 else [value]
    return values[0]


def gathered(value: Found) -> list[Found]:
    """The values of all ranks, in the order of the ranks."""
    values: list[Found] = gather_object([value]) if ranks() > 1 else [value]
    return values


def summed(figures: Mapping[str, float]) -> dict[str, float]:
    """Sums of figures over ranks."""
    parts = gathered(dict(figures))
    return {name: sum(part[name] for part in parts) for name in figures}


def shares(sizes: Sequence[int], count: int) -> list[list[int]]:
    """Deal items out, the largest first and each to the rank with the fewest tokens.

    Args:
        sizes: tokens of each item.
        count: ranks.

    Returns:
        For each rank its positions in `sizes`, in their order; each position exactly once.
    """
    dealt: list[list[int]] = [[] for _ in range(count)]
    loads = [0] * count
    for position in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
        least = loads.index(min(loads))
        dealt[least].append(position)
        loads[least] += sizes[position]
    return [sorted(positions) for positions in dealt]


def rounds(sizes: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Micro-batches of this rank for one optimiser batch: equally many on all ranks, since they meet in each.

    Args:
        sizes: tokens of each item of the batch.
        max_tokens: tokens of a micro-batch.

    Returns:
        Groups of positions in `sizes`; empty ones where this rank has less to do than others.
    """
    dealt = [
        [[share[index] for index in group] for group in token_batches([sizes[index] for index in share], max_tokens)]
        for share in shares(sizes, ranks())
    ]
    mine = dealt[rank()]
    return mine + [[]] * (max(map(len, dealt)) - len(mine))


def together(
    model: Model, sizes: Sequence[int], max_tokens: int, read: Callable[[Model, list[int]], Sequence[Found]]
) -> list[Found]:
    """Read a model on many items, each on one rank.

    Args:
        model: trained, frozen or sharded.
        sizes: tokens of each item.
        max_tokens: tokens that are read at once.
        read: of the whole model and positions in `sizes`: a result for each, tensors on the processor.

    Returns:
        A result for each item, in their order, the same on every rank.
    """
    share = shares(sizes, ranks())[rank()]
    groups = token_batches([sizes[index] for index in share], max_tokens)
    mine: list[tuple[int, Found]] = []
    with whole(model) as reader:
        for group in groups:
            positions = [share[index] for index in group]
            mine += zip(positions, read(reader, positions), strict=True)
    results = dict(pair for part in gathered(mine) for pair in part)
    return [results[position] for position in range(len(sizes))]


def shard(model: Model) -> Model:
    """Spread the weights of a model over the ranks, in place, where FSDP2 is asked for; leave it alone elsewhere.

    `accelerate launch --use_fsdp` asks by ACCELERATE_USE_FSDP. Accelerate's own `prepare` takes no second and no frozen
    model, and ignores FSDP on processors, so torch is called here as it calls it.
    """
    if ranks() == 1 or not parse_flag_from_env("ACCELERATE_USE_FSDP") or isinstance(model, FSDPModule):
        return model
    empty = {id(weight): nn.Parameter(weight.new_empty(0), requires_grad=False) for weight in model.parameters()}
    _COPIES[model] = copy.deepcopy(model, {**empty, id(model.config): model.config})
    blocks = set(getattr(model, "_no_split_modules", None) or ())
    for module in model.modules():
        if type(module).__name__ in blocks:
            fully_shard(module)
    fully_shard(model)
    vars(model)["call"] = lambda function, *arguments: function(model, *arguments)
    register_fsdp_forward_method(model, "call")
    return model


@contextmanager
def whole(model: Model) -> Iterator[Model]:
    """A model with all its weights, to be read and not to be trained; all ranks must ask for it together."""
    reader = _COPIES.get(model)
    if reader is None:
        yield model
        return
    pairs = list(zip(reader.parameters(), model.parameters(), strict=True))
    with torch.inference_mode(False), torch.no_grad():
        for full, sharded in pairs:
            full.data = sharded.detach().full_tensor()  # type: ignore[attr-defined]
    try:
        yield reader  # type: ignore[misc]
    finally:
        for full, _ in pairs:
            full.data = full.data.new_empty(0)


@torch.no_grad()
def overwrite(weight: Tensor, value: Tensor) -> None:
    """Set a weight that may be sharded to a value that every rank has."""
    if isinstance(weight, DTensor):
        value = distribute_tensor(value, weight.device_mesh, weight.placements)
    weight.copy_(value)


def caller(model: PreTrainedModel) -> Callable[..., Any]:
    """What calls a function of a trained model, `call(function, *arguments)`, so that DDP or FSDP2 notice."""
    if isinstance(model, FSDPModule):
        call: Callable[..., Any] = vars(model)["call"]
        return call
    view = _View(model)
    return view if ranks() == 1 else Accelerator(cpu=not torch.cuda.is_available()).prepare_model(view)


def unsynced(call: Callable[..., Any], *, last: bool) -> AbstractContextManager[None]:
    """Context of a backward pass in which DDP adds gradients up on their rank until the last micro-batch.

    FSDP2 reduces them every time, because whole gradients on every rank are what it is there to avoid.
    """
    return call.no_sync() if isinstance(call, DistributedDataParallel) and not last else nullcontext()


class _View(nn.Module):
    """A model whose forward is any function of it, because that is where DDP and FSDP2 listen."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[..., Found], *arguments: Any) -> Found:
        return function(self.model, *arguments)
