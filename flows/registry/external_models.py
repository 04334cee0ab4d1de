"""External reward models: taken from the registry or the hub instead of being trained."""

from collections.abc import Iterable
from datetime import date
from pathlib import Path

from huggingface_hub import snapshot_download
from mlflow import MlflowClient

from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.config.pretrained import SCHEME, HubModel, ModelSource
from flows.registry.client import Registry, open_registry
from flows.registry.database import database_file, prepare_database
from flows.registry.learned_prompts import learned_prompts
from flows.registry.references import ModelRef
from flows.registry.server import require_mlflow

NOT_READ = ["*.gguf", "*.h5", "*.msgpack", "*.onnx", "original/*"]
"""Files of hub models that transformers does not load here."""


def pin_models(config: LadderConfig) -> LadderConfig:
    """The configuration with the versions that the aliases of its registered models mean now.

    Whatever depends on an alias then depends on the version, so that a moved alias makes another climb.

    Raises:
        InputError: if there is no such version or alias, or it cannot be known what a reward model was trained on.
    """
    sources = config.taken_models
    if not any(isinstance(source, str) for source in sources.values()):
        return config
    registry = open_registry(config.project, config.storage)
    sections = {}
    for written, source in sources.items():
        if (version := registered(source, registry)) is not None:
            section, _, field = written.partition(".")
            update = {"source" if field == "from" else field: f"{SCHEME}{version.label}"}
            if section != "relabel":
                learned_prompts([version], registry)  # before any work, as nothing judges a model of unknown training
            sections[section] = getattr(config, section).model_copy(update=update)
    return config.model_copy(update=sections)


def check_registered(models: Iterable[tuple[str, str]]) -> None:
    """See that registered models are there; nothing is made or written.

    Args:
        models: fields that name them, and what they name: name/version or name@alias.

    Raises:
        InputError: naming the field, if there is no such version or alias, or no server answers.
    """
    require_mlflow()
    database = database_file()
    for field, model in models:
        if database is not None and not database.exists():
            raise InputError(f"field '{field}': {model} is not in the registry, as there is none at {database} yet")
        prepare_database()
        try:
            Registry(MlflowClient(), "", Path()).pin(model)
        except InputError as error:
            raise InputError(f"field '{field}': {error}") from None


def registered(source: ModelSource, registry: Registry) -> ModelRef | None:
    """The version that is taken, None for a model of the hub."""
    return registry.pin(source.removeprefix(SCHEME)) if isinstance(source, str) else None


def files_of(source: ModelSource, registry: Registry) -> Path:
    """The files of what is taken, on this machine."""
    if isinstance(source, HubModel):
        return Path(snapshot_download(source.model, revision=source.revision, ignore_patterns=NOT_READ))
    return registry.folder(registry.pin(source.removeprefix(SCHEME)))


def day_of(source: ModelSource) -> date | None:
    """The day to which its chat template is pinned, if it reads the clock and is not pinned; None is today."""
    return source.date if isinstance(source, HubModel) else None


def name_of(source: ModelSource) -> str:
    """What is taken, as people write it."""
    return f"{source.model}@{source.revision[:8]}" if isinstance(source, HubModel) else source.removeprefix(SCHEME)
