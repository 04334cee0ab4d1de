"""Preflight check: whether the files, models and data sets that a configuration names can be had."""

from collections.abc import Iterator
from importlib.util import find_spec

from flows.config.data import HubData
from flows.config.errors import InputError
from flows.config.folders import check_folder
from flows.config.hub_access import require_on_hub
from flows.config.ladder import LadderConfig
from flows.config.pretrained import SCHEME, HubModel, LocalModel
from flows.config.relabel import ByPeople
from flows.data.sources import TABLES, check_files
from flows.pipeline.outside_functions import check_outside_measures
from flows.stages.reward_inputs import check_reward, registered_models
from rlhf_core.config.base import TextBaseConfig


def check_reachable(config: LadderConfig, *, offline: bool) -> list[str]:
    """Look for what a configuration names outside of the registry; try its reward functions.

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
    hub, notes = list(_on_hub(config)), _later(config)
    if offline:
        unasked = [
            *(f"in the registry: model {model} of field '{field}'" for field, model in in_registry(config)),
            *(f"offline: {kind} {name}@{revision[:8]} of field '{field}'" for field, kind, name, revision in hub),
        ]
        return [*(f"not asked for, {item}" for item in unasked), *notes]
    for field, kind, name, revision in hub:
        if kind == "dataset":
            require_on_hub(field, kind, name, revision)
    if not any(kind == "model" for _, kind, _, _ in hub):
        return notes
    from flows.pipeline.families import try_hub_models  # noqa: PLC0415 torch takes seconds to import

    return [*try_hub_models(config), *notes]


def in_registry(config: LadderConfig) -> list[tuple[str, str]]:
    """Field and name of every registered model that a configuration names."""
    taken = [(field, source) for field, source in config.taken_models.items() if isinstance(source, str)]
    models = [(field, source.removeprefix(SCHEME)) for field, source in taken]
    return [*registered_models(config.policy.reward), *models]


def _later(config: LadderConfig) -> list[str]:
    """What will be known of the tokens of a base whose tokenizer is not there yet."""
    if not isinstance(config.base, TextBaseConfig):
        return []
    return [
        f"base from_text: its tokenizer of {config.base.vocabulary:,} tokens is learned from the training text, so "
        "ids, and how many texts are cut, are told when that is done, before SFT; the chat template is "
        f"<|user|>...<|assistant|>, responses end with <|end|>, {config.base.max_positions} positions"
    ]


def _check_files(config: LadderConfig) -> None:
    """Files, folders and models on this machine, and packages of which a setting needs one."""
    check_folder(config.storage)
    if any(isinstance(source, LocalModel) for source in config.pretrained_models.values()):
        from flows.pipeline.families import try_local_models  # noqa: PLC0415 torch takes seconds to import

        try_local_models(config)
    if isinstance(config.relabel, ByPeople) and config.relabel.folder is not None:
        check_folder(config.relabel.folder.absolute())
    check_files(config.data)
    samplings = {"sft.sampling": config.sft.sampling, "policy.sampling": config.policy.sampling}
    for section, sampling in samplings.items():
        if sampling.engine == "vllm" and find_spec("vllm") is None:
            raise InputError(f"field '{section}.engine': vllm is not installed; install it, or take another engine")


def _on_hub(config: LadderConfig) -> Iterator[tuple[str, str, str, str]]:
    """Field, kind, name and revision of everything that is on the hub."""
    for field, source in config.pretrained_models.items():
        if isinstance(source, HubModel):
            yield field, "model", source.model, source.revision
    if isinstance(config.data, HubData):
        for table in TABLES:
            for dataset in getattr(config.data, table):
                yield f"data.{table}", "dataset", dataset.dataset, dataset.revision
