"""The part of the configuration that takes a policy that was trained elsewhere, to be measured and judged here."""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from flows.config.pretrained import TAKEN, ModelSource
from rlhf_core.config.policy import PolicyConfig
from rlhf_core.config.sampling import SamplingConfig


class ImportedPolicy(PolicyConfig):
    """A policy that was trained elsewhere, measured and judged here; of its optimiser precision and tokens count."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    method: Literal["imported"] = "imported"
    """The policy is taken as it is; what is meant where `from` is named and no method."""
    source: ModelSource = Field(alias="from")
    """`from`: where it is: a folder (`./policy`, or its `path`), `model` and `revision` on the hub, or
    `models:/name/version` and `models:/name@alias`. It must write the tokens of the SFT model."""
    sampling: SamplingConfig = SamplingConfig()
    """How answers are drawn for the figures; lengths that are not named here are those of `sft.sampling`."""
    trained_by: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\n]*$")] | None = None
    """What trained it, in words, such as `verl 0.6, run 1234`; kept with the version and shown in lineage."""

    @model_validator(mode="after")
    def _nothing_is_for_training(self) -> Self:
        if self.adapter is not None:
            raise ValueError("adapter is for training, and a policy that is imported is not trained; set it to null")
        if any(term.name == TAKEN for term in self.reward.terms):
            raise ValueError(f"reward.terms: '{TAKEN}' is what lineage calls the policy's own content; rename that one")
        return self
