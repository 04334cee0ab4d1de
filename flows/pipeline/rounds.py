"""Rounds of the ladder: what they need before any work, and how they wait for labels of people."""

from typing import Annotated

from prefect import State
from prefect.states import Completed
from pydantic import Field

from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.data.relabel.annotators import relabelling
from flows.data.relabel.relabel import WaitingForLabels
from flows.registry.references import LadderResult

WAITING = "WaitingForLabels"
Times = Annotated[int, Field(ge=1, description="Rounds; each after the first retrains on answers of the newest policy")]


def check_rounds(config: LadderConfig, times: int) -> None:
    """Refuse several rounds that could not learn from each other.

    Raises:
        InputError: if nobody labels fresh answers, or no reward model would learn from them.
    """
    if times == 1:
        return
    relabelling(config)
    if config.reward_model.source is not None:
        raise InputError(
            "field 'reward_model.from': a reward model from elsewhere is not trained, so that labels of fresh answers "
            "would change nothing; leave it out, or climb once"
        )


def waiting(wait: WaitingForLabels, result: LadderResult | None) -> State[LadderResult]:
    """The state of a ladder whose next round needs labels of people, with what the round before came to."""
    data = result and result.model_copy(update={"waits_for": str(wait.path)})
    return Completed(name=WAITING, message=str(wait), data=data)
