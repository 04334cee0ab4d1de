"""The third rung: PPO against the reward model, tied to the SFT model."""

from pathlib import Path

from prefect import flow

from flows.packaging import Use
from flows.place import Place
from flows.plan import Plan
from flows.references import DataRefs, StageRecord
from flows.rewards import RewardInputs
from flows.rows import read_demonstrations, read_prompts
from flows.stages import run_stage
from rlhf_core import ppo
from rlhf_core.checkpoint import Checkpoints
from rlhf_core.config.ppo import PPOConfig
from rlhf_core.stage import Stage


@flow(name="policy", flow_run_name="{place.project} policy")
def train_policy(
    config: PPOConfig,
    data: DataRefs,
    sft: StageRecord,
    reward_model: StageRecord,
    judge: StageRecord,
    rewards: RewardInputs,
    place: Place,
) -> StageRecord:
    """Train policy and value model on the prompts of the training split, and on demonstrations if they are mixed in."""
    datasets = {"training": data.prompts} | ({"ptx": data.demonstrations} if config.ptx_coef else {})

    def start(out: Path, checkpoints: Checkpoints) -> Stage:
        registry = place.registry()
        return ppo.train_policy(
            config,
            sft=registry.folder(sft.model),
            reward_model=registry.folder(reward_model.model),
            judge=registry.folder(judge.model),
            prompts=read_prompts(data.prompts, "train"),
            held_out_prompts=read_prompts(data.prompts, "test"),
            out=out,
            seed=place.seed,
            term_models=rewards.model_folders(registry),
            demonstrations=read_demonstrations(data.demonstrations, "train") if config.ptx_coef else (),
            cache=place.cache,
            checkpoints=checkpoints,
        )

    plan = Plan(
        stage="policy",
        config=config,
        seed=place.seed,
        start=start,
        models={"policy": "Policy trained with PPO", "value": "Value model of the policy"},
        uses={"policy": Use.within("generate", config.sampling), "value": Use.within("value", config.sampling)},
        parents={"sft": sft.model, "reward-model": reward_model.model, "judge": judge.model, **rewards.parents},
        datasets=datasets,
        sources=rewards.sources,
        key_metrics=("reward_score", "kl_to_sft_nats", "judge_score", "entropy_nats"),
    )
    return run_stage(plan, place)
