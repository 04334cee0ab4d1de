"""Units of settings: what a number counts or measures, as the reference and the schema for editors show it."""

from typing import Annotated

from pydantic import Field
from pydantic.fields import FieldInfo


def unit(name: str) -> FieldInfo:
    """Metadata of a number for `Annotated`, which its JSON schema carries as `unit`."""
    info: FieldInfo = Field(json_schema_extra={"unit": name})
    return info


MOST_SEED = 10**18
"""Generators of random numbers take no seed beyond 64 bits."""

Annotators = Annotated[int, unit("annotators")]
ResponseCount = Annotated[int, unit("responses")]
Demonstrations = Annotated[int, unit("demonstrations")]
Documents = Annotated[int, unit("documents")]
Evaluations = Annotated[int, unit("evaluations")]
Layers = Annotated[int, unit("layers")]
Lines = Annotated[int, unit("lines")]
Machines = Annotated[int, unit("machines")]
PairCount = Annotated[int, unit("pairs")]
Passes = Annotated[int, unit("passes over the data")]
Processes = Annotated[int, unit("processes")]
Prompts = Annotated[int, unit("prompts")]
Rounds = Annotated[int, unit("rounds")]
Rows = Annotated[int, unit("rows")]
Seed = Annotated[int, unit("none"), Field(ge=0, le=MOST_SEED)]
Size = Annotated[int, unit("dimensions")]
Steps = Annotated[int, unit("optimiser steps")]
Threads = Annotated[int, unit("threads")]
Tokens = Annotated[int, unit("tokens")]
Updates = Annotated[int, unit("updates")]
VoteCount = Annotated[int, unit("votes")]
Windows = Annotated[int, unit("windows")]

Days = Annotated[float, unit("days")]
Cost = Annotated[float, unit("currency")]
Hours = Annotated[float, unit("hours")]
Logits = Annotated[float, unit("logits")]
NatsPerResponse = Annotated[float, unit("nats per response")]
Number = Annotated[float, unit("none")]
Price = Annotated[float, unit("currency per hour")]
Probability = Annotated[float, unit("probability")]
Ratio = Annotated[float, unit("ratio")]
RewardPerNat = Annotated[float, unit("calibrated reward per nat")]
RewardUnits = Annotated[float, unit("calibrated reward")]
Seconds = Annotated[float, unit("seconds")]
Share = Annotated[float, unit("share")]
Similarity = Annotated[float, unit("similarity")]
