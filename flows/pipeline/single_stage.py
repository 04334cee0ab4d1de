"""Each rung alone: the data, and the rungs below by their champions in the registry instead of by training them."""

from prefect import State, flow

from flows.config.ladder import LadderConfig
from flows.data.ingest import ingest, ingest_alone, plan_of
from flows.pipeline.lifecycle import open_run
from flows.pipeline.reuse import champion, parent
from flows.registry.client import Registry
from flows.registry.external_models import pin_models
from flows.registry.names import registered_name
from flows.registry.references import DataRefs, LadderResult, StageRecord
from flows.stages.base import make_base
from flows.stages.policy import train_policy
from flows.stages.reward_model import train_judge, train_reward_model
from flows.stages.sft import train_sft

Result = LadderResult | State[LadderResult]


@flow(name="rlhf-ingest", flow_run_name="{config.project} ingest alone")
def data_alone(config: LadderConfig) -> DataRefs:
    """Read, check, divide and keep the data."""
    return ingest_alone(config)


@flow(name="rlhf-sft", flow_run_name="{config.project} sft alone")
def sft_alone(config: LadderConfig, arguments: str = "CONFIG") -> Result:
    """Fine-tune the base, which is made if there is none like it yet."""
    with open_run(config, arguments, what="sft alone") as climb:
        data = ingest(plan_of(config), climb.context)
        if climb.repeats(data):
            return climb.publish()
        climb.begin(data)
        base = climb.measure_lengths(climb.reached(make_base(config.base, data, climb.context)))
        sft = climb.reached(train_sft(config.sft, data.demonstrations, base, climb.context))
        climb.enforce(sft, config.gates.sft)
        return climb.publish()


@flow(name="rlhf-reward-model", flow_run_name="{config.project} reward-model alone")
def reward_model_alone(config: LadderConfig, sft: str | None = None, arguments: str = "CONFIG") -> Result:
    """Train a reward model that starts from a registered SFT model.

    Args:
        config: whose data and settings are meant.
        sft: name/version or name@alias; the champion unless given.
        arguments: how the configuration is named on a command line.
    """
    config = pin_models(config)
    with open_run(config, arguments, what="reward model alone") as climb:
        start = climb.given("sft", sft)
        data = ingest(plan_of(config), climb.context)
        if climb.repeats(data):
            return climb.publish()
        climb.begin(data)
        reward_model = climb.reached(train_reward_model(config.reward_model, data, start, climb.context))
        climb.enforce(reward_model, config.gates.reward_model)
        return climb.publish()


@flow(name="rlhf-policy", flow_run_name="{config.project} policy alone")
def policy_alone(
    config: LadderConfig, sft: str | None = None, reward_model: str | None = None, arguments: str = "CONFIG"
) -> Result:
    """Train a policy against a registered reward model, with a judge like that of the ladder.

    Args:
        config: whose data and settings are meant.
        sft: name/version or name@alias; unless given the champion, or the reward model's own start if there is none.
        reward_model: the same, the champion unless given.
        arguments: how the configuration is named on a command line.
    """
    config = pin_models(config)
    with open_run(config, arguments, what="policy alone") as climb:
        rewards = climb.given("reward-model", reward_model)
        start = climb.given("sft", sft or _start(config, rewards, climb.context.registry()))
        data = ingest(plan_of(config), climb.context)
        if climb.repeats(data):
            return climb.publish()
        climb.enforce_data(climb.begin(data), config.gates.data)
        judge = climb.reached(train_judge(config.judge, data, start, climb.context))
        models = (start, rewards, judge)
        policy = climb.reached(train_policy(config.policy, data, *models, climb.rewards, climb.context))
        climb.enforce(policy, config.gates.policy)
        return climb.publish()


def _start(config: LadderConfig, reward_model: StageRecord, registry: Registry) -> str:
    """The SFT model that a policy starts from where none is named."""
    found = champion(registered_name(config.project, "sft"), registry) or parent(reward_model.model, "sft", registry)
    return found.label
