"""The ladder in rounds: each learns from the data of the one before and from labelled answers of its policy."""

from collections.abc import Callable, Sequence
from typing import Annotated

from prefect import State
from prefect.states import Completed
from pydantic import Field

from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.data.relabel.annotators import relabelling
from flows.data.relabel.relabel import WaitingForLabels
from flows.pipeline.lifecycle import open_run
from flows.pipeline.run import NOTHING, LadderRun
from flows.registry.references import LadderResult, Round

WAITING = "WaitingForLabels"

Times = Annotated[int, Field(ge=1, description="Rounds; each after the first retrains on answers of the newest policy")]


def climb_in_rounds(
    climb_rungs: Callable[[LadderRun], object], config: LadderConfig, arguments: str, times: int
) -> LadderResult | State[LadderResult]:
    """Climb as often as asked for, each round with a run and a summary of its own.

    A round that passes its gates gives the alias to its versions; one that a gate stops ends the rounds, so that the
    alias stays where it was.

    Args:
        climb_rungs: one round.
        config: of all rounds.
        arguments: how it is named on a command line.
        times: rounds in all.

    Returns:
        What the last round came to, with all stages that any of them trained. Where none was, in a completed state
        named NothingToRetrain; where people are to label pairs first, in one named WaitingForLabels.

    Raises:
        InputError: before any work, if nobody labels fresh answers or no reward model would learn from them.
        StoppedByGate: naming every gate that blocks, and why.
    """
    if times > 1:
        _check(config)
    rounds: list[Round] = []
    reached: LadderResult | None = None
    for number in range(1, times + 1):
        what = "ladder" if number == 1 else f"ladder round {number}"
        try:
            with open_run(config, arguments, what=what, before=rounds, last=number == times) as climb:
                climb_rungs(climb)
        except WaitingForLabels as wait:
            waiting = reached and reached.model_copy(update={"waits_for": str(wait.path)})
            return Completed(name=WAITING, message=str(wait), data=waiting)
        rounds = climb.rounds
        reached = climb.result.model_copy(update={"retrained": _retrained(rounds)})
    if reached is not None and reached.retrained:
        return reached
    return Completed(name=NOTHING, message=climb.outcome(), data=reached)


def _check(config: LadderConfig) -> None:
    relabelling(config)
    if config.reward_model.source is not None:
        raise InputError(
            "field 'reward_model.from': a reward model from elsewhere is not trained, so that labels of fresh answers "
            "would change nothing; leave it out, or climb once"
        )


def _retrained(rounds: Sequence[Round]) -> list[str]:
    """Stages that any round trained, those of later rounds with its number."""
    return [
        stage if round_.number == 1 else f"{stage} of round {round_.number}"
        for round_ in rounds
        for stage in round_.retrained
    ]
