"""Rounds of the ladder: how often it is climbed, and how it waits for labels of people."""

from typing import Annotated

from prefect import State
from prefect.states import Completed
from pydantic import Field

from flows.data.relabel.relabel import WaitingForLabels
from flows.registry.references import LadderResult

WAITING = "WaitingForLabels"
Times = Annotated[int, Field(ge=1, description="Rounds; each after the first retrains on answers of the newest policy")]


def waiting(wait: WaitingForLabels, result: LadderResult | None) -> State[LadderResult]:
    """The state of a ladder whose next round needs labels of people, with what the round before came to."""
    data = result and result.model_copy(update={"waits_for": str(wait.path)})
    return Completed(name=WAITING, message=str(wait), data=data)
