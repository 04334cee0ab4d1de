"""Preflight check: whether the files, models and data sets that a configuration names can be had."""

from collections.abc import Iterator

from huggingface_hub import HfApi
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError

from data_contracts.records import COLUMNS
from flows.config.data import FileData, HubData
from flows.config.errors import InputError
from flows.config.ladder import LadderConfig
from flows.data.sources import source_files
from flows.pipeline.families import check_families, hub_models
from flows.stages.reward_inputs import check_reward, registered_models


def check_reachable(config: LadderConfig, *, offline: bool) -> list[str]:
    """Look for the files and hub repositories of a configuration, and try the reward functions that it names.

    Args:
        config: a valid configuration.
        offline: do not ask the hub.

    Returns:
        What was not looked for, one line each.

    Raises:
        InputError: naming the field and what cannot be had.
    """
    if isinstance(config.data, FileData):
        for table in COLUMNS:
            for source in getattr(config.data, table):
                source_files(source)
    check_reward(config.policy.reward)
    unasked = [
        f"not asked for, in the registry: model {model} of field '{field}'"
        for field, model in registered_models(config.policy.reward)
    ]
    hub = list(_on_hub(config))
    if offline:
        return unasked + [
            f"not asked for, offline: {kind} {name}@{revision[:8]} of field '{field}'"
            for field, kind, name, revision in hub
        ]
    for field, kind, name, revision in hub:
        _ask_hub(field, kind, name, revision)
    check_families(config)
    return unasked


def _on_hub(config: LadderConfig) -> Iterator[tuple[str, str, str, str]]:
    """Field, kind, name and revision of everything that is on the hub."""
    for field, source in hub_models(config):
        yield field, "model", source.model, source.revision
    if isinstance(config.data, HubData):
        for table in map(str, COLUMNS):
            for dataset in getattr(config.data, table):
                yield f"data.{table}", "dataset", dataset.dataset, dataset.revision


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
    except (HfHubHTTPError, OSError) as error:
        raise InputError(
            f"field '{field}': the hub gives no {kind} {name}@{revision[:8]} ({type(error).__name__}); "
            "check name, revision and network, or use --offline"
        ) from None
