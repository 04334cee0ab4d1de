"""The ladder: ingest, base, SFT, reward model, judge, policy, publish; and again with answers of that policy."""

from prefect import State, flow

from flows.config.ladder import LadderConfig
from flows.data.ingest import ingest, plan_of
from flows.pipeline.rounds import Times, climb_in_rounds
from flows.pipeline.run import LadderRun
from flows.registry.external_models import pin_models
from flows.registry.references import LadderResult
from flows.stages.base import make_base
from flows.stages.policy import train_policy
from flows.stages.reward_model import train_judge, train_reward_model
from flows.stages.sft import train_sft

Result = LadderResult | State[LadderResult]


@flow(name="rlhf-ladder", flow_run_name="{config.project} ladder")
def ladder(config: LadderConfig, arguments: str = "CONFIG", iterate: Times = 1) -> Result:
    """Climb the ladder, `iterate` times in all; each further round has fresh answers of the newest policy labelled."""
    return climb_in_rounds(climb_rungs, pin_models(config), arguments, iterate)


def climb_rungs(climb: LadderRun) -> Result:
    """Climb the three rungs; a failed gate stops the ladder with its reasons."""
    config, context, gates = climb.config, climb.context, climb.config.gates
    data = climb.refresh(ingest(plan_of(config), context))
    if climb.repeats(data):
        return climb.publish()
    climb.enforce_data(climb.begin(data), gates.data)
    base = climb.measure_lengths(climb.reached(make_base(config.base, data, context)))
    sft = climb.reached(train_sft(config.sft, data.demonstrations, base, context))
    climb.enforce(sft, gates.sft)
    reward_model = climb.reached(train_reward_model(config.reward_model, data, sft, context))
    climb.enforce(reward_model, gates.reward_model)
    judge = climb.reached(train_judge(config.judge, data, sft, context))
    models = (sft, reward_model, judge)
    policy = climb.reached(train_policy(config.policy, data, *models, climb.rewards, context))
    climb.enforce(policy, gates.policy)
    return climb.publish()
