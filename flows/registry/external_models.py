"""External models: taken from the registry, the hub, a folder or a GGUF file instead of being trained."""

import hashlib
import re
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import TypeVar

from mlflow import MlflowClient

from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.config.pretrained import SCHEME, TAKEN, GGUFBase, HubModel, LocalModel, ModelSource, Pretrained
from flows.registry.approvals import require_two_people
from flows.registry.client import Registry, open_registry
from flows.registry.database import database_file, prepare_database
from flows.registry.hub import download, resolve
from flows.registry.learned_prompts import learned_prompts
from flows.registry.names import CHAMPION, project_of_model
from flows.registry.references import ModelRef
from flows.registry.server import require_mlflow
from flows.report import warn
from flows.storage.digests import digests_of, total_digest
from rlhf_core.models.gguf_files import check_gguf
from rlhf_core.models.model_files import check_files, read_files

Model = TypeVar("Model", bound=Pretrained)

WHERE = re.compile(r"^/[^:]*: ")
"""The folder on this machine, where what is wrong with a model begins with it."""


def pin_base(config: LadderConfig) -> LadderConfig:
    """The configuration with what its base is now: the commit of a branch or tag, the content of a folder or file.

    Raises:
        InputError: if it cannot be had, or a digest is written down that is not its own.
    """
    if not isinstance(config.base, Pretrained):
        return config
    return config.model_copy(update={"base": pin("base", config.base)})


def pin_models(config: LadderConfig) -> LadderConfig:
    """The configuration with what its other models from elsewhere are now, as `pin_base`; aliases become versions.

    Whatever depends on an alias, a branch or a folder then depends on what is there, so that a moved alias makes
    another climb.

    Raises:
        InputError: if there is no such model, it cannot be known what a registered one was trained on, or the judge is
            the reward model.
    """
    sections = {}
    for written, source in config.taken_models.items():
        section, _, field = written.partition(".")
        update = {"source" if field == "from" else field: _pinned(written, source, config)}
        sections[section] = getattr(config, section).model_copy(update=update)
    pinned = config.model_copy(update=sections)
    judge, scorer = (model.source for model in (pinned.judge, pinned.reward_model))
    if isinstance(judge, LocalModel) and isinstance(scorer, LocalModel) and judge.digest == scorer.digest:
        raise InputError(
            f"field 'judge.from': {judge.path} holds the same model as reward_model.from, but a judge must be another; "
            "take or train one"
        )
    return pinned


def _pinned(field: str, source: ModelSource, config: LadderConfig) -> ModelSource:
    if not isinstance(source, str):
        return pin(field, source)
    registry = open_registry(config.project, config.storage, config.audit)
    version = registry.pin(source.removeprefix(SCHEME))
    if config.promotion.two_people and source.endswith(f"@{CHAMPION}"):
        project = project_of_model(version.name) or config.project
        require_two_people(open_registry(project, config.storage, config.audit), version)
    if not field.startswith("relabel."):
        learned_prompts([version], registry)  # before any work, as nothing judges a model of unknown training
    return f"{SCHEME}{version.label}"


def pin(field: str, source: Model) -> Model:
    """A model of the hub or of this machine with what it is now: its commit, or the digest of its content.

    Raises:
        InputError: naming the field, as `pin_base`.
    """
    try:
        match source:
            case HubModel():
                now = resolve(source)
                if now.moves:
                    warn(moved(field, now))
                return source.model_copy(update={"commit": now.commit})
            case LocalModel():
                digest = content_digest(source)
                if source.digest not in (None, digest):
                    raise InputError(
                        f"{source.place} has the digest {digest}, not the one that is written down; name the folder "
                        "that has it, or mend the digest"
                    )
                return source.model_copy(update={"digest": digest})
    except InputError as error:
        raise InputError(f"field '{field}': {error}") from None
    return source


def moved(field: str, source: HubModel) -> str:
    """What a branch or tag means, and that this may change."""
    return (
        f"{field}: {source.model}'s revision {source.revision} may move; it is now {source.pinned}, which is taken "
        "(write that as revision to keep it)"
    )


def content_digest(source: LocalModel) -> str:
    """SHA-256 of what a model on this machine holds, wherever it lies: of a GGUF file, or the files that are read.

    Raises:
        InputError: if it is not there, or not whole.
    """
    check_local(source)
    if isinstance(source, GGUFBase):
        with source.place.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    return total_digest(digests_of(source.path, read_files(source.path)))


def check_local(source: LocalModel) -> None:
    """See that a model on this machine is there and whole, without reading its weights.

    Raises:
        InputError: saying what is there instead, and the mend.
    """
    try:
        if isinstance(source, GGUFBase):
            check_gguf(source.place)
        else:
            check_files(source.path)
    except ValueError as error:
        raise InputError(str(error)) from None


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
    """The version that is taken, None for a model that is not in the registry."""
    return registry.pin(source.removeprefix(SCHEME)) if isinstance(source, str) else None


def files_of(source: ModelSource | Pretrained, registry: Registry) -> Path:
    """The folder with the files of what is taken, on this machine.

    Raises:
        InputError: if the hub does not give it, or the registry lacks it.
    """
    match source:
        case HubModel():
            return download(source)
        case LocalModel():
            return source.path
    return registry.folder(registry.pin(str(source).removeprefix(SCHEME)))


def digests_taken(source: ModelSource | Pretrained) -> dict[str, str]:
    """The digest of what is taken, as sources of a stage name it; none where the registry or the hub keeps it."""
    return {TAKEN: str(source.digest)} if isinstance(source, LocalModel) else {}


def allows(source: ModelSource | Pretrained) -> bool | None:
    """Whether texts may write its special tokens; None of a registered model, which says so itself."""
    return None if isinstance(source, str) else source.special_tokens == "allow"


def day_of(source: ModelSource) -> date | None:
    """The day to which its chat template is pinned, if it reads the clock and is not pinned; None is today."""
    return None if isinstance(source, str) else source.date


def refusal(source: ModelSource | Pretrained, error: Exception) -> str:
    """The first line of what is wrong with a model, after its name, which is said once."""
    name = name_of(source)
    reason = str(error).splitlines()[0]
    return reason if reason.startswith(name) else f"{name}: {WHERE.sub('', reason)}"


def name_of(source: ModelSource | Pretrained) -> str:
    """What is taken, as people write it."""
    match source:
        case HubModel():
            return f"{source.model}@{source.pinned[:8]}"
        case LocalModel():
            return str(source.place)
    return str(source).removeprefix(SCHEME)
