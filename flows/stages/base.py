"""The base stage: a pretrained model, made here or taken from the hub."""

from pathlib import Path

from prefect import flow
from transformers import AutoModelForCausalLM, AutoTokenizer

from flows.config.errors import InputError
from flows.config.ladder import BaseConfig
from flows.config.pretrained import HubBase
from flows.registry.context import RunContext
from flows.registry.packaging import Serving
from flows.registry.references import DataRefs, DatasetRef, StageRecord
from flows.stages.plan import Plan
from flows.stages.runner import run_stage
from flows.storage.records import read_demonstrations, read_pairs
from rlhf_core.base import embedded, from_text
from rlhf_core.config.base import PretrainConfig, TextBaseConfig
from rlhf_core.config.sampling import SamplingConfig
from rlhf_core.data.chat_template import settle_template
from rlhf_core.data.plain_text import training_text
from rlhf_core.data.tokenizer import load_tokenizer
from rlhf_core.models.fitness import check_base
from rlhf_core.models.loading import complete_model, load_policy
from rlhf_core.training.checkpoint import Checkpoints
from rlhf_core.training.stage import Stage, StageResult


@flow(name="base", flow_run_name="{context.project} base")
def make_base(config: BaseConfig, data: DataRefs, context: RunContext) -> StageRecord:
    """Pretrain the base on the embedded world or on the training text, or take one from the hub."""
    reads_data = isinstance(config, TextBaseConfig)

    def start(out: Path, _: Checkpoints) -> Stage:
        match config:
            case PretrainConfig():
                return embedded.pretrain(config, out=out, seed=context.seed)
            case TextBaseConfig():
                return from_text.pretrain(config, texts=_training_text(data), out=out, seed=context.seed)
            case HubBase():
                return from_hub(config, out)

    plan = Plan(
        stage="base",
        config=config,
        seed=context.seed,
        start=start,
        main="base",
        models={"base": "Pretrained base model, before any alignment"},
        uses={"base": Serving.within("generate", _limits(config))},
        datasets={f"training-{table.name}": table for table in _text_tables(data)} if reads_data else {},
        key_metrics=("loss_nats", "lr"),
        alone=True,
    )
    return run_stage(plan, context)


def _training_text(data: DataRefs) -> list[str]:
    """The text of the training split: what a base may have read without having seen any held-out row."""
    return training_text(read_demonstrations(data.demonstrations, "train"), read_pairs(data.preferences, "train"))


def from_hub(config: HubBase, out: Path) -> Stage:
    """Copy a pinned revision of a hub model and its tokenizer into a plain folder, and load it as later stages will.

    Its chat template is settled.

    Raises:
        InputError: if no policy and no reward model can be made of it.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(config.model, revision=config.revision)
        settle_template(tokenizer, day=config.date)
        model = complete_model(AutoModelForCausalLM, config.model, revision=config.revision)
        check_base(model.config)
        model.save_pretrained(out)
        tokenizer.save_pretrained(out)
        load_policy(out, load_tokenizer(str(out)))
    except ValueError as error:
        reason = str(error).splitlines()[0].removeprefix(f"{out}: ").removeprefix(f"{config.model}: ")
        raise InputError(f"field 'base': {config.model}@{config.revision[:8]}: {reason}") from None
    yield from ()
    return StageResult(artifacts={"base": out})


def _limits(config: BaseConfig) -> SamplingConfig:
    """Lengths that fit the base, halved between prompt and response."""
    if isinstance(config, HubBase):
        return SamplingConfig()
    half = config.max_positions // 2
    return SamplingConfig(max_prompt_tokens=half, max_response_tokens=half)


def _text_tables(data: DataRefs) -> tuple[DatasetRef, DatasetRef]:
    return data.demonstrations, data.preferences
