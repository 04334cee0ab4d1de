"""The part of the configuration that says whether a reward model is trained or taken from elsewhere."""

from typing import Self

from pydantic import ConfigDict, Field, model_validator

from flows.config.pretrained import ModelSource
from rlhf_core.config.reward_model import RewardModelConfig


class RewardModelSettings(RewardModelConfig):
    """A reward model: trained as the other fields say, or taken; then of them only lengths and optimiser are read."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    source: ModelSource | None = Field(None, alias="from")
    """`from`: where it is taken from instead of being trained: `models:/name/version`, `models:/name@alias`, `path` of
    a folder, or `model` and `revision` on the hub. It is measured and judged like a trained one."""

    @model_validator(mode="after")
    def _nothing_is_for_training(self) -> Self:
        if self.source is not None and self.balance != "none":
            raise ValueError(
                f"balance '{self.balance}' weighs pairs of training, and a model that is taken has none; set it to none"
            )
        if self.source is not None and self.adapter is not None:
            raise ValueError("adapter is for training, and a model that is taken is not trained; set it to null")
        return self
