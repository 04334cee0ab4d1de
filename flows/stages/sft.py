"""The SFT stage: supervised fine-tuning of the base on demonstrations."""

from pathlib import Path

from prefect import flow

from flows.registry.context import RunContext
from flows.registry.packaging import Serving
from flows.registry.references import DatasetRef, StageRecord
from flows.stages.plan import Plan
from flows.stages.runner import run_stage
from flows.storage.records import read_demonstrations
from rlhf_core import sft
from rlhf_core.config.sft import SFTConfig
from rlhf_core.training.checkpoint import Checkpoints
from rlhf_core.training.stage import Stage


@flow(name="sft", flow_run_name="{context.project} sft")
def train_sft(config: SFTConfig, demonstrations: DatasetRef, base: StageRecord, context: RunContext) -> StageRecord:
    """Fine-tune the base on the demonstrations of the training split."""
    return run_stage(plan_sft(config, demonstrations, base, context), context)


def plan_sft(config: SFTConfig, demonstrations: DatasetRef, base: StageRecord, context: RunContext) -> Plan:
    """What `train_sft` does."""

    def start(out: Path, checkpoints: Checkpoints) -> Stage:
        return sft.train_sft(
            config,
            base=context.registry().folder(base.model),
            train=read_demonstrations(demonstrations, "train"),
            held_out=read_demonstrations(demonstrations, "test"),
            out=out,
            seed=context.seed,
            checkpoints=checkpoints,
        )

    return Plan(
        stage="sft",
        config=config,
        seed=context.seed,
        start=start,
        main="sft",
        models={"sft": "Supervised fine-tuned model"},
        uses={"sft": Serving.within("generate", config.sampling)},
        parents={"base": base.model},
        datasets={"training": demonstrations},
        key_metrics=("loss_nats", "lr"),
    )
