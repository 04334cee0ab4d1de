"""The second rung: the reward model that PPO maximises, and the judge that only measures."""

from pathlib import Path

from prefect import flow

from flows.packaging import Use
from flows.place import Place
from flows.plan import Plan
from flows.references import DataRefs, StageRecord
from flows.rows import read_demonstrations, read_pairs
from flows.stages import run_stage
from rlhf_core import reward_model
from rlhf_core.checkpoint import Checkpoints
from rlhf_core.config.reward_model import RewardModelConfig
from rlhf_core.stage import Stage

JUDGE_SEED_OFFSET = 1000  # the judge shares neither pairs nor seed with the reward model
KEY_METRICS = ("loss_nats", "agreement", "delta_mean", "lr")


@flow(name="reward-model", flow_run_name="{place.project} reward-model")
def train_reward_model(config: RewardModelConfig, data: DataRefs, init_from: StageRecord, place: Place) -> StageRecord:
    """Train the reward model on the pairs of the training split, starting from the SFT model."""
    return run_stage(_plan("reward-model", "train", config, data, init_from, place, place.seed), place)


@flow(name="judge", flow_run_name="{place.project} judge")
def train_judge(config: RewardModelConfig, data: DataRefs, init_from: StageRecord, place: Place) -> StageRecord:
    """Train the held-out judge on the pairs of its own split, with another seed."""
    return run_stage(_plan("judge", "judge", config, data, init_from, place, place.seed + JUDGE_SEED_OFFSET), place)


def _plan(
    stage: str, split: str, config: RewardModelConfig, data: DataRefs, sft: StageRecord, place: Place, seed: int
) -> Plan:
    def start(out: Path, checkpoints: Checkpoints) -> Stage:
        return reward_model.train_reward_model(
            config,
            init_from=place.registry().folder(sft.model),
            train=read_pairs(data.preferences, split),
            held_out=read_pairs(data.preferences, "test"),
            demonstrations=read_demonstrations(data.demonstrations, "train"),
            out=out,
            seed=seed,
            ceiling=data.ceiling,
            cache=place.cache,
            checkpoints=checkpoints,
        )

    return Plan(
        stage=stage,
        config=config,
        seed=seed,
        start=start,
        models={"reward_model": "Held-out judge, never trained against" if stage == "judge" else "Reward model"},
        uses={"reward_model": Use.within("score", config)},
        names={"reward_model": stage},
        parents={"sft": sft.model},
        datasets={"training": data.preferences, "centring": data.demonstrations},
        key_metrics=KEY_METRICS,
    )
