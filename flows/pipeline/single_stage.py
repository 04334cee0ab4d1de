"""Each stage alone: the stages below by their champions in the registry instead of by training them."""

from prefect import flow
from prefect.states import Completed

from flows.config.ladder import LadderConfig
from flows.data.ingest import ingest_alone
from flows.pipeline.lifecycle import open_run
from flows.pipeline.reuse import champion, parent
from flows.pipeline.run import Result
from flows.registry.client import Registry, open_registry
from flows.registry.external_models import pin_base, pin_models
from flows.registry.names import registered_name
from flows.registry.references import DataRefs, StageRecord
from flows.stages.base import make_base
from flows.stages.policy import train_policy
from flows.stages.reward_model import train_judge, train_reward_model
from flows.stages.sft import train_sft

OVERTAKEN = "Overtaken"
"""State of a run whose promotion was followed by another one before it began."""


@flow(name="rlhf-ingest", flow_run_name="{config.project} ingest alone")
def data_alone(config: LadderConfig) -> DataRefs:
    """Read, check, divide and keep the data."""
    return ingest_alone(config)


@flow(name="rlhf-sft", flow_run_name="{config.project} sft alone")
def sft_alone(config: LadderConfig, arguments: str = "CONFIG") -> Result:
    """Fine-tune the base, which is made if there is none like it yet."""
    config = pin_base(config)
    with open_run(config, arguments, what="sft alone") as run:
        data = run.ingest()
        if not run.is_repeat(data):
            run.keep(data)
            base = run.keep(make_base(config.base, data, run.context))
            run.measure_tokens(data, base)
            run.gate(train_sft(config.sft, data.demonstrations, base, run.context), config.gates.sft)
    return run.end_state()


@flow(name="rlhf-reward-model", flow_run_name="{config.project} reward-model alone")
def reward_model_alone(config: LadderConfig, sft: str | None = None, arguments: str = "CONFIG") -> Result:
    """Train a reward model that starts from a registered SFT model.

    Args:
        config: whose data and settings are meant.
        sft: name/version or name@alias; the champion unless given.
        arguments: how the configuration is named on a command line.
    """
    config = pin_models(config)
    with open_run(config, arguments, what="reward model alone") as run:
        start = run.use_model("sft", sft)
        data = run.ingest()
        if not run.is_repeat(data):
            run.keep(data)
            run.measure_tokens(data, start)
            run.gate(train_reward_model(config.reward_model, data, start, run.context), config.gates.reward_model)
    return run.end_state()


@flow(name="rlhf-policy", flow_run_name="{config.project} policy alone")
def policy_alone(
    config: LadderConfig,
    sft: str | None = None,
    reward_model: str | None = None,
    arguments: str = "CONFIG",
    promoted: bool = False,
) -> Result:
    """Train a policy against a registered reward model, with a judge like that of the ladder.

    Args:
        config: whose data and settings are meant.
        sft: name/version or name@alias; unless given the champion, or the reward model's own start if there is none.
        reward_model: the same, the champion unless given.
        arguments: how the configuration is named on a command line.
        promoted: whether that version's promotion started the run, which is then for a champion alone: where another
            one is champion by now, its promotion starts a run of its own, and this one ends in a completed state named
            Overtaken.
    """
    config = pin_models(config)
    if promoted and (now := _champion(config)) != reward_model:
        return Completed(name=OVERTAKEN, message=f"{reward_model} was promoted; by now {now or 'none'} is champion")
    with open_run(config, arguments, what="policy alone") as run:
        scorer = run.use_model("reward-model", reward_model)
        start = run.use_model("sft", sft or _start(config, scorer, run.context.registry()))
        data = run.ingest()
        if not run.is_repeat(data):
            run.gate(data, config.gates.data)
            judge = run.keep(train_judge(config.judge, data, start, run.context))
            policy = train_policy(config.policy, data, start, scorer, judge, run.rewards, run.context)
            run.gate(policy, config.gates.policy)
    return run.end_state()


def _champion(config: LadderConfig) -> str | None:
    """The reward model that is champion now."""
    registry = open_registry(config.project, config.storage, config.audit)
    found = registry.champion(registered_name(config.project, "reward-model"))
    return found.label if found else None


def _start(config: LadderConfig, reward_model: StageRecord, registry: Registry) -> str:
    """The SFT model that a policy starts from where none is named."""
    sft = champion(f"{config.project}-sft", registry) or parent(reward_model.model, "sft", registry)
    return sft.label
