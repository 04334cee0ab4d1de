"""The third rung: a policy by PPO against the reward model or by DPO on the preferences, tied to the SFT model."""

from pathlib import Path

from prefect import flow

from flows.packaging import Use
from flows.place import Place
from flows.plan import Plan
from flows.references import DataRefs, ModelRef, StageRecord
from flows.rewards import RewardInputs
from flows.rows import read_all_pairs, read_demonstrations, read_pairs, read_prompts
from flows.stages import run_stage
from rlhf_core import dpo, ppo
from rlhf_core.checkpoint import Checkpoints
from rlhf_core.config.dpo import DPOConfig
from rlhf_core.config.ppo import PPOConfig
from rlhf_core.stage import Stage


@flow(name="policy", flow_run_name="{place.project} policy")
def train_policy(
    config: PPOConfig | DPOConfig,
    data: DataRefs,
    sft: StageRecord,
    reward_model: StageRecord,
    judge: StageRecord,
    rewards: RewardInputs,
    place: Place,
) -> StageRecord:
    """Train a policy by the configured method; by whichever, it is measured on the same prompts in the same way."""
    parents = {"sft": sft.model, "reward-model": reward_model.model, "judge": judge.model}
    match config:
        case PPOConfig():
            return run_stage(_ppo(config, data, parents, rewards, place), place)
        case DPOConfig():
            return run_stage(_dpo(config, data, parents, rewards, place), place)


def _ppo(config: PPOConfig, data: DataRefs, parents: dict[str, ModelRef], rewards: RewardInputs, place: Place) -> Plan:
    """Policy and value model, trained on the prompts of the training split, and on demonstrations where asked for."""
    mixed = {"ptx": data.demonstrations} if config.ptx_coef else {}

    def start(out: Path, checkpoints: Checkpoints) -> Stage:
        return ppo.train_policy(
            config,
            **_folders(parents, place),
            prompts=read_prompts(data.prompts, "train"),
            held_out_prompts=read_prompts(data.prompts, "test"),
            demonstrations=read_demonstrations(data.demonstrations, "train") if config.ptx_coef else (),
            out=out,
            seed=place.seed,
            term_models=rewards.model_folders(place.registry()),
            cache=place.cache,
            checkpoints=checkpoints,
        )

    return Plan(
        stage="policy",
        config=config,
        seed=place.seed,
        start=start,
        models={"policy": "Policy trained with PPO", "value": "Value model of the policy"},
        uses={"policy": Use.within("generate", config.sampling), "value": Use.within("value", config.sampling)},
        parents={**parents, **rewards.parents},
        datasets={"training": data.prompts, **mixed},
        sources=rewards.sources,
        key_metrics=("reward_score", "kl_to_sft_nats", "judge_score", "entropy_nats"),
    )


def _dpo(config: DPOConfig, data: DataRefs, parents: dict[str, ModelRef], rewards: RewardInputs, place: Place) -> Plan:
    """Policy trained on the pairs of the training split, fresh ones too; models and prompts only measure it."""

    def start(out: Path, checkpoints: Checkpoints) -> Stage:
        return dpo.train_policy(
            config,
            **_folders(parents, place),
            train=read_all_pairs(data.all_pairs.values(), "train"),
            held_out=read_pairs(data.preferences, "test"),
            held_out_prompts=read_prompts(data.prompts, "test"),
            out=out,
            seed=place.seed,
            term_models=rewards.model_folders(place.registry()),
            cache=place.cache,
            checkpoints=checkpoints,
        )

    return Plan(
        stage="policy",
        config=config,
        seed=place.seed,
        start=start,
        models={"policy": "Policy trained with DPO"},
        uses={"policy": Use.within("generate", config.sampling)},
        parents={**parents, **rewards.parents},
        datasets={**data.all_pairs, "evaluation": data.prompts},
        sources=rewards.sources,
        key_metrics=("loss_nats", "margin", "agreement", "lr"),
    )


def _folders(parents: dict[str, ModelRef], place: Place) -> dict[str, Path]:
    """Files of the models that go in, by the name of the argument that takes them."""
    registry = place.registry()
    return {role.replace("-", "_"): registry.folder(ref) for role, ref in parents.items()}
