"""The trunk of a model, which makes its final hidden states, and the way in which these and its logits are computed."""

import inspect
from functools import cache
from typing import Any, NamedTuple

from torch import nn
from transformers import PreTrainedModel


class Way(NamedTuple):
    """How a model is computed; `choose_way` settles it when a model is loaded, and it stays with the trunk.

    Attributes:
        rows: trees of responses lie in one row without padding; else each response is padded, in the stock forward.
        cached: sampling keeps what it has read, in a cache; else each token reads all before it again.
        linear_head: logits are a linear head on the final states, scaled or capped; else the stock model makes them.
        reason: why there are no rows, for people; empty where there are.
    """

    rows: bool = True
    cached: bool = True
    linear_head: bool = True
    reason: str = ""


WAY = "computed_by"
"""Attribute of a trunk with its way: models that share a trunk are computed alike."""


def trunk(model: PreTrainedModel) -> nn.Module:
    """What makes the final hidden states of a model; Llama 4 does not say where its own is."""
    base: nn.Module = model.base_model
    return base if base is not model else model.get_submodule("model")


CACHES = ("cache", "past_key_values", "cache_params")
"""What architectures call their cache, as an argument and in what they return; `transformers` 5.24 has the first."""


def cache_name(body: nn.Module) -> str:
    """What a trunk calls its cache."""
    kind: Any = type(body)
    return _cache_name(kind)


@cache
def _cache_name(kind: type[nn.Module]) -> str:
    arguments = inspect.signature(kind.forward).parameters
    return next((name for name in CACHES if name in arguments), "past_key_values")


def way_of(model: PreTrainedModel) -> Way:
    """The way in which a model is computed, by rows where nothing else was settled."""
    way: Way = vars(trunk(model)).get(WAY, Way())
    return way


def settle(model: PreTrainedModel, way: Way) -> None:
    """Have a model computed in a way from now on."""
    vars(trunk(model))[WAY] = way
