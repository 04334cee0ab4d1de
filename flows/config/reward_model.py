"""The part of the configuration that says whether a reward model is trained or taken from elsewhere."""

import datetime
import re
from typing import Annotated, Any, Self

from pydantic import AfterValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from flows.config.data import HubName, Revision
from rlhf_core.config import Frozen
from rlhf_core.config.reward_model import RewardModelConfig

SCHEME = "models:/"


class HubModel(Frozen):
    """A reward model on the hub at a pinned revision; needs a network."""

    model: HubName
    """Name on the hub, `owner/name`."""
    revision: Revision
    """Full commit hash, so that a run is repeatable."""
    date: datetime.date | None = None
    """Day to which a chat template that reads the clock is pinned; null is the day on which it is first taken."""


def _check_address(text: str) -> str:
    if not re.fullmatch(rf"{SCHEME}[^/@\s]+(/\d+|@[\w-]+)", text):
        raise ValueError(
            f"'{text}' names no registered model; write models:/name/version or models:/name@alias, or give model and "
            "revision of one on the hub"
        )
    return text


def _origin(source: Any) -> str:
    return "registry" if isinstance(source, str) else "hub"


ModelSource = Annotated[
    Annotated[str, AfterValidator(_check_address), Tag("registry")] | Annotated[HubModel, Tag("hub")],
    Discriminator(_origin),
]


class RewardModelSettings(RewardModelConfig):
    """A reward model: trained as the other fields say, or taken; then of them only lengths and optimiser are read."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    source: ModelSource | None = Field(None, alias="from")
    """`from`: where it is taken from instead of being trained: `models:/name/version`, `models:/name@alias`, or `model`
    and `revision` on the hub. It is measured and judged like a trained one."""

    @model_validator(mode="after")
    def _nothing_is_for_training(self) -> Self:
        if self.source is not None and self.balance != "none":
            raise ValueError(
                f"balance '{self.balance}' weighs pairs of training, and a model that is taken has none; set it to none"
            )
        if self.source is not None and self.adapter is not None:
            raise ValueError("adapter is for training, and a model that is taken is not trained; set it to null")
        return self
