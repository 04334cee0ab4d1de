"""The base stage: a pretrained model, made here or taken from the hub, a folder or a GGUF file."""

from pathlib import Path

from prefect import flow

from flows.config.ladder import BaseConfig
from flows.config.pretrained import GGUFBase, Pretrained
from flows.registry.context import RunContext
from flows.registry.external_models import digests_taken, files_of, name_of
from flows.registry.packaging import Serving
from flows.registry.references import DataRefs, DatasetRef, StageRecord
from flows.stages.plan import Plan
from flows.stages.runner import run_stage
from flows.stages.taken import taking
from flows.storage.records import read_demonstrations, read_pairs
from rlhf_core.base import embedded, from_text, pretrained
from rlhf_core.config.base import PretrainConfig, TextBaseConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.data.plain_text import training_text
from rlhf_core.training.checkpoint import Checkpoints
from rlhf_core.training.stage import Stage


@flow(name="base", flow_run_name="{context.project} base")
def make_base(config: BaseConfig, data: DataRefs, context: RunContext) -> StageRecord:
    """Pretrain the base on the embedded world or on the training text, or take one from elsewhere."""
    return run_stage(plan_base(config, data, context), context)


def plan_base(config: BaseConfig, data: DataRefs, context: RunContext) -> Plan:
    """What `make_base` does."""
    reads_data = isinstance(config, TextBaseConfig)
    origin = f", taken from {name_of(config)}" if isinstance(config, Pretrained) else ""

    def start(out: Path, _: Checkpoints) -> Stage:
        match config:
            case PretrainConfig():
                return embedded.pretrain(config, out=out, seed=context.seed)
            case TextBaseConfig():
                return from_text.pretrain(config, texts=_training_text(data), out=out, seed=context.seed)
            case Pretrained():
                return taking(_adoption(config, context, out), "base", config)

    return Plan(
        stage="base",
        config=config,
        seed=context.seed,
        start=start,
        main="base",
        models={"base": f"Pretrained base model, before any alignment{origin}"},
        uses={"base": Serving.within("generate", _limits(config))},
        datasets={f"training-{table.name}": table for table in _text_tables(data)} if reads_data else {},
        sources=digests_taken(config) if isinstance(config, Pretrained) else {},
        key_metrics=("loss_nats", "lr"),
        alone=True,
    )


def _adoption(config: Pretrained, context: RunContext, out: Path) -> Stage:
    allow = config.special_tokens == "allow"
    if isinstance(config, GGUFBase):
        return pretrained.adopt_gguf(config.place, out=out, day=config.date, allow=allow)
    return pretrained.adopt(files_of(config, context.registry()), out=out, day=config.date, allow=allow)


def _training_text(data: DataRefs) -> list[str]:
    """The text of the training split: what a base may have read without having seen any held-out row."""
    return training_text(read_demonstrations(data.demonstrations, "train"), read_pairs(data.preferences, "train"))


def _limits(config: BaseConfig) -> SamplingConfig:
    """Lengths that fit the base, halved between prompt and response."""
    if isinstance(config, Pretrained):
        return SamplingConfig()
    half = config.max_positions // 2
    return SamplingConfig(max_prompt_tokens=half, max_response_tokens=half)


def _text_tables(data: DataRefs) -> tuple[DatasetRef, DatasetRef]:
    return data.demonstrations, data.preferences
