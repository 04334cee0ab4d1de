"""Device, mixed precision and number formats."""

from contextlib import AbstractContextManager
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rlhf_core.config.optimiser import OptimiserConfig


def precision(config: OptimiserConfig) -> AbstractContextManager[object]:
    """Context in which matrix products run in the configured precision."""
    return torch.autocast(device().type, dtype=torch.bfloat16, enabled=config.precision == "bfloat16")


Model = TypeVar("Model", bound=nn.Module)


def device() -> torch.device:
    """The accelerator where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def to_device(model: Model) -> Model:
    """The model itself, moved to `device()`; a plain module here, as `transformers` hides the types of its own `to`."""
    return model.to(device())


def to_numpy(values: Tensor) -> NDArray[np.float64]:
    """Values as float64 on the processor, in which figures are computed."""
    return values.double().cpu().numpy()


class NotFiniteError(ValueError):
    """What a model says is not a number: its weights are damaged, or training has gone astray."""


def check_finite(what: str, values: Tensor) -> None:
    """Test that something is a number everywhere, before it becomes part of a figure.

    Args:
        what: the values are, for people; in the plural.
        values: of any shape.

    Raises:
        NotFiniteError: if one is NaN or infinite.
    """
    if wrong := values.numel() - int(torch.isfinite(values).sum()):
        raise NotFiniteError(
            f"{what} are not finite, {wrong} of {values.numel()}: weights of the model are damaged or too large "
            "for its precision; take another version of it, or train it at a lower learning rate"
        )
