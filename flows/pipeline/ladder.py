"""The ladder: ingest, base, SFT, reward model, judge, policy, each behind its gate; and again with its answers."""

from prefect import flow

from flows.config.ladder import LadderConfig
from flows.config.rounds import check_rounds
from flows.data.relabel.relabel import WaitingForLabels
from flows.pipeline.families import check_policy_tokens
from flows.pipeline.forecast import announce
from flows.pipeline.lifecycle import open_run
from flows.pipeline.rounds import Times, waiting
from flows.pipeline.run import LadderRun, Result
from flows.registry.external_models import pin_base, pin_models
from flows.registry.references import LadderResult, Round
from flows.stages.base import make_base
from flows.stages.policy import train_policy
from flows.stages.reward_model import train_judge, train_reward_model
from flows.stages.sft import train_sft


@flow(name="rlhf-ladder", flow_run_name="{config.project} ladder")
def ladder(config: LadderConfig, arguments: str = "CONFIG", iterate: Times = 1) -> Result:
    """SFT, reward model, policy, each behind its gate; again with labelled answers of the newest policy.

    A round that passes its gates gives the alias to its versions; one that a gate stops ends the rounds, so that the
    alias stays where it was.

    Args:
        config: of all rounds.
        arguments: how the configuration is named on a command line.
        iterate: rounds in all.

    Returns:
        What the last round came to, with all stages that any of them trained. Where none was, in a completed state
        named NothingToRetrain; where people are to label pairs first, in one named WaitingForLabels.

    Raises:
        InputError: before any work, if nobody labels fresh answers or no reward model would learn from them.
        StoppedByGate: naming every gate that blocks, and why.
    """
    config = pin_models(pin_base(config))
    check_rounds(config, iterate)
    rounds: list[Round] = []
    result: LadderResult | None = None
    for number in range(1, iterate + 1):
        title = "ladder" if number == 1 else f"ladder round {number}"
        try:
            with open_run(config, arguments, what=title, before=rounds, last=number == iterate) as run:
                climb(run)
        except WaitingForLabels as wait:
            return waiting(wait, result)
        rounds, result = run.rounds, run.result
    return run.end_state()


def climb(run: LadderRun) -> None:
    """Climb the three rungs; a failed gate stops the run with its reasons."""
    config, gates = run.config, run.config.gates
    data = run.ingest()
    if run.is_repeat(data):
        return
    announce(config, data, run.rewards, run.context)
    run.gate(data, gates.data)
    base = run.keep(make_base(config.base, data, run.context))
    run.measure_tokens(data, base)
    check_policy_tokens(config, data, base, run.context.registry())
    sft = run.gate(train_sft(config.sft, data.demonstrations, base, run.context), gates.sft)
    reward_model = run.gate(train_reward_model(config.reward_model, data, sft, run.context), gates.reward_model)
    judge = run.keep(train_judge(config.judge, data, sft, run.context))
    run.gate(train_policy(config.policy, data, sft, reward_model, judge, run.rewards, run.context), gates.policy)
