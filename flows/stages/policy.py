"""The policy stage: PPO against the reward model, DPO on the preferences, or a policy that was trained elsewhere."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from prefect import flow

from flows.config.imported_policy import ImportedPolicy
from flows.config.pretrained import TAKEN
from flows.registry.context import RunContext
from flows.registry.external_models import day_of, digests_taken, files_of, name_of, registered
from flows.registry.names import IMPORTED_TAG, TRAINED_BY_TAG
from flows.registry.packaging import Serving
from flows.registry.references import DataRefs, DatasetRef, ModelRef, StageRecord
from flows.registry.tags import imported
from flows.stages.held_out import held_out, noted
from flows.stages.plan import Plan
from flows.stages.reward_inputs import RewardInputs
from flows.stages.runner import run_stage
from flows.stages.taken import taking
from flows.storage.records import read_all_pairs, read_demonstrations, read_prompts
from rlhf_core import dpo
from rlhf_core.config.dpo import DPOConfig
from rlhf_core.config.ppo import PPOConfig
from rlhf_core.data.records import Pair
from rlhf_core.imported_policy import import_policy
from rlhf_core.ppo import train as ppo
from rlhf_core.training.checkpoint import Checkpoints
from rlhf_core.training.stage import Stage


@flow(name="policy", flow_run_name="{context.project} policy")
def train_policy(
    config: PPOConfig | DPOConfig | ImportedPolicy,
    data: DataRefs,
    sft: StageRecord,
    reward_model: StageRecord,
    judge: StageRecord,
    rewards: RewardInputs,
    context: RunContext,
) -> StageRecord:
    """Train a policy by the configured method, or take one; it is measured on the same prompts in the same way."""
    return run_stage(plan_policy(config, data, sft, reward_model, judge, rewards, context), context)


def plan_policy(
    config: PPOConfig | DPOConfig | ImportedPolicy,
    data: DataRefs,
    sft: StageRecord,
    reward_model: StageRecord,
    judge: StageRecord,
    rewards: RewardInputs,
    context: RunContext,
) -> Plan:
    """What `train_policy` does."""
    parents = {"sft": sft.model, "reward-model": reward_model.model, "judge": judge.model}
    match config:
        case PPOConfig():
            method = _ppo(config, data)
        case DPOConfig():
            method = _dpo(config, data)
        case ImportedPolicy():
            method = _imported(config, data, context)
    return _plan(method, config, data, parents, rewards, context)


class _Method(NamedTuple):
    """What a method has of its own.

    Attributes:
        train: begins the training; called with the arguments that all methods take.
        models: as of `Plan`.
        uses: as of `Plan`.
        datasets: as of `Plan`.
        key_metrics: as of `Plan`.
        taken: the registered version that is taken instead of training one.
        sources: as of `Plan`, besides those of the reward.
        tags: as of `Plan`.
    """

    train: Callable[..., Stage]
    models: dict[str, str]
    uses: dict[str, Serving]
    datasets: dict[str, DatasetRef]
    key_metrics: tuple[str, ...] = ()
    taken: ModelRef | None = None
    sources: Mapping[str, str] = {}
    tags: Mapping[str, str] = {}


def _ppo(config: PPOConfig, data: DataRefs) -> _Method:
    """Policy and value model, trained on the prompts of the training split, and on demonstrations where asked for."""
    mixed = {"ptx": data.demonstrations} if config.ptx_coef else {}

    def train(held_out_pairs: Sequence[Pair], **shared: Any) -> Stage:
        demonstrations = read_demonstrations(data.demonstrations, "train") if config.ptx_coef else ()
        prompts = read_prompts(data.prompts, "train")
        return ppo.train_policy(config, prompts=prompts, demonstrations=demonstrations, **shared)

    return _Method(
        train=train,
        models={"policy": "Policy trained with PPO", "value": "Value model of the policy"},
        uses={"policy": Serving.within("generate", config.sampling), "value": Serving.within("value", config.sampling)},
        datasets={"training": data.prompts, **mixed},
        key_metrics=("eval_judge_score", "kl_to_sft_nats", "reward_score"),
    )


def _dpo(config: DPOConfig, data: DataRefs) -> _Method:
    """Policy trained on the pairs of the training split, fresh ones too; models and prompts only measure it."""

    def train(held_out_pairs: Sequence[Pair], **shared: Any) -> Stage:
        train = read_all_pairs(data.all_pairs.values(), "train")
        return dpo.train_policy(config, train=train, held_out=held_out_pairs, **shared)

    return _Method(
        train=train,
        models={"policy": "Policy trained with DPO"},
        uses={"policy": Serving.within("generate", config.sampling)},
        datasets={**data.all_pairs, "evaluation": data.prompts},
        key_metrics=("agreement", "loss_nats", "margin"),
    )


def _imported(config: ImportedPolicy, data: DataRefs, context: RunContext) -> _Method:
    """Policy that is there already; pairs and models only measure it."""
    source, version = config.source, registered(config.source, context.registry())
    trained_by = config.trained_by or (f"the run of {version.label}" if version else "someone unknown")

    def train(held_out_pairs: Sequence[Pair], checkpoints: Checkpoints, **shared: Any) -> Stage:
        folder = files_of(source, context.registry())
        adopted = taking(import_policy(config, source=folder, day=day_of(source), **shared), "policy.from", source)
        return noted(adopted, imported(trained_by, known=version is not None))

    return _Method(
        train=train,
        models={"policy": f"Policy imported, trained by {trained_by}, taken from {name_of(source)}"},
        uses={"policy": Serving.within("generate", config.sampling)},
        datasets={"evaluation": data.prompts},
        taken=version,
        sources=digests_taken(source),
        tags={IMPORTED_TAG: name_of(source), TRAINED_BY_TAG: trained_by},
    )


def _plan(
    method: _Method,
    config: PPOConfig | DPOConfig | ImportedPolicy,
    data: DataRefs,
    parents: dict[str, ModelRef],
    rewards: RewardInputs,
    context: RunContext,
) -> Plan:
    taken = {} if method.taken is None else {TAKEN: method.taken}

    def start(out: Path, checkpoints: Checkpoints) -> Stage:
        registry = context.registry()
        models = [*parents.values(), *taken.values(), *rewards.models.values()]
        judging = held_out(data, models, registry, taken=method.taken)
        training = method.train(
            **{role.replace("-", "_"): registry.folder(ref) for role, ref in parents.items()},
            held_out_pairs=judging.pairs,
            held_out_prompts=judging.prompts,
            tuned=judging.tuned_by_prompts,
            out=out,
            seed=context.seed,
            term_models=rewards.model_folders(registry),
            cache=context.cache,
            checkpoints=checkpoints,
        )
        return noted(training, judging.note)

    return Plan(
        stage="policy",
        config=config,
        seed=context.seed,
        start=start,
        main="policy",
        models=method.models,
        uses=method.uses,
        parents={**parents, **taken, **rewards.parents},
        datasets=method.datasets,
        sources={**rewards.sources, **method.sources},
        tags=method.tags,
        key_metrics=method.key_metrics,
    )
