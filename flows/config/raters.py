"""The part of the configuration that says whose labels of preferences count, and how much."""

from typing import Annotated

from pydantic import Field, model_validator

from rlhf_core.config import Frozen
from rlhf_core.config.units import Number, VoteCount

RaterName = Annotated[str, Field(min_length=1)]


class RatersConfig(Frozen):
    """What a rater's vote counts, by the name that the report of ingestion shows."""

    exclude: tuple[RaterName, ...] = ()
    """Raters whose votes are left out, and counted as such."""
    exclude_random: bool = False
    """Whether those are left out too of whom it is shown that they answer at random."""
    exclude_below: Annotated[Number, Field(ge=-1.0, le=1.0)] | None = None
    """Those are left out too whose agreement with the others beyond chance (kappa) is below this with all of its
    interval; null: nobody. Looked at often it errs more often than an interval says; `exclude_random` does not."""
    weights: dict[str, Annotated[VoteCount, Field(ge=1, le=1000)]] = {}
    """Votes that a rater's one vote counts as; 1 where nothing is said."""

    @property
    def may_exclude(self) -> bool:
        """Whether somebody may be left out."""
        return bool(self.exclude) or self.exclude_random or self.exclude_below is not None

    @model_validator(mode="after")
    def _agree(self) -> "RatersConfig":
        if both := sorted({*self.exclude} & {*self.weights}):
            raise ValueError(f"exclude and weights both name {', '.join(both)}; leave one of them out")
        return self
