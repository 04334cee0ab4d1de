"""Preflight check: whether the files, models and data sets that a configuration names can be had."""

from collections.abc import Iterator
from importlib.util import find_spec

from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError
from transformers import AutoTokenizer

from data_contracts.records import COLUMNS
from flows.config.data import FileData, HubData
from flows.config.errors import InputError
from flows.config.folders import check_folder
from flows.config.ladder import LadderConfig
from flows.config.pretrained import SCHEME, HubModel, LocalModel
from flows.config.relabel import ByPeople
from flows.data.sources import source_files
from flows.pipeline.families import check_model
from flows.pipeline.outside_measures import check_outside_measures
from flows.registry.external_models import check_local, moved, name_of, pin, refusal
from flows.registry.hub import UNREACHABLE, cached, resolve
from flows.stages.reward_inputs import check_reward, registered_models
from rlhf_core.data.chat_template import settle_template

TABLES = (*map(str, COLUMNS), "held_out")


def check_reachable(config: LadderConfig, *, offline: bool) -> list[str]:
    """Look for what a configuration names outside of the registry; try its reward functions and tokenizers.

    Nothing is made.

    Args:
        config: a valid configuration.
        offline: do not ask the hub.

    Returns:
        What was not looked for, and what may be another thing one day, one line each.

    Raises:
        InputError: naming the field and what cannot be had.
    """
    _check_files(config)
    check_reward(config.policy.reward)
    check_outside_measures(config)
    hub = list(_on_hub(config))
    if offline:
        unasked = [
            *(f"in the registry: model {model} of field '{field}'" for field, model in in_registry(config)),
            *(f"offline: {kind} {name}@{revision[:8]} of field '{field}'" for field, kind, name, revision in hub),
        ]
        return [f"not asked for, {item}" for item in unasked]
    notes = [note for field, source in _models_on_hub(config) for note in _ask_for_model(field, source)]
    for field, kind, name, revision in hub:
        if kind != "model":
            _ask_hub(field, kind, name, revision)
    for field, source in _models_on_hub(config):
        _try_tokenizer(field, source)
        check_model(field, source)
    return notes


def in_registry(config: LadderConfig) -> list[tuple[str, str]]:
    """Field and name of every registered model that a configuration names."""
    taken = [(field, source) for field, source in config.taken_models.items() if isinstance(source, str)]
    models = [(field, source.removeprefix(SCHEME)) for field, source in taken]
    return [*registered_models(config.policy.reward), *models]


def _check_files(config: LadderConfig) -> None:
    """Files, folders and models on this machine, and packages of which a setting needs one."""
    check_folder(config.storage)
    for field, source in config.pretrained_models.items():
        if isinstance(source, LocalModel):
            _check_local(field, source)
    if isinstance(config.relabel, ByPeople) and config.relabel.folder is not None:
        check_folder(config.relabel.folder.absolute())
    if isinstance(config.data, FileData):
        for table in TABLES:
            for source in getattr(config.data, table):
                try:
                    source_files(source)
                except InputError as error:
                    raise InputError(f"field 'data.{table}': {error}") from None
    samplings = {"sft.sampling": config.sft.sampling, "policy.sampling": config.policy.sampling}
    for section, sampling in samplings.items():
        if sampling.engine == "vllm" and find_spec("vllm") is None:
            raise InputError(f"field '{section}.engine': vllm is not installed; install it, or take another engine")


def _on_hub(config: LadderConfig) -> Iterator[tuple[str, str, str, str]]:
    """Field, kind, name and revision of everything that is on the hub."""
    for field, source in _models_on_hub(config):
        yield field, "model", source.model, source.revision
    if isinstance(config.data, HubData):
        for table in TABLES:
            for dataset in getattr(config.data, table):
                yield f"data.{table}", "dataset", dataset.dataset, dataset.revision


def _models_on_hub(config: LadderConfig) -> list[tuple[str, HubModel]]:
    models = config.pretrained_models
    return [(field, source) for field, source in models.items() if isinstance(source, HubModel)]


def _check_local(field: str, source: LocalModel) -> None:
    if source.digest is not None:
        pin(field, source)
    try:
        check_local(source)
    except InputError as error:
        raise InputError(f"field '{field}': {error}") from None
    _try_tokenizer(field, source)
    check_model(field, source)


def _ask_for_model(field: str, source: HubModel) -> list[str]:
    """Notes on a model of the hub that can be had: that its revision may move, or that only the cache has it."""
    try:
        _ask_hub(field, "model", source.model, source.revision)
    except InputError:
        if cached(source) is None:
            raise
        notes = [f"{field}: the hub was not reached, and the cache of this machine has {name_of(source)}"]
    else:
        notes = []
    return [*notes, *([moved(field, resolve(source))] if source.moves else [])]


def _try_tokenizer(field: str, source: HubModel | LocalModel) -> None:
    """Read the tokenizer of a model, and see that it has one chat template which writes the same on every day."""
    try:
        settle_template(AutoTokenizer.from_pretrained(source.name, **source.loading))
    except (OSError, ValueError) as error:
        raise InputError(f"field '{field}': {refusal(source, error)}") from None


def _ask_hub(field: str, kind: str, name: str, revision: str) -> None:
    hub = HfApi()
    try:
        hub.repo_info(name, revision=revision, repo_type=kind, timeout=20.0)
        hub.auth_check(name, repo_type=kind)
    except GatedRepoError:
        raise InputError(
            f"field '{field}': the hub gives {kind} {name} only to who accepted its terms; accept them on its page and "
            "set HF_TOKEN"
        ) from None
    except UNREACHABLE as error:
        raise InputError(
            f"field '{field}': the hub gives no {kind} {name}@{revision[:8]} ({type(error).__name__}); "
            "check name, revision and network, or use --offline"
        ) from None
