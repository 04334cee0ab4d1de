"""Models of the Hugging Face hub: what a branch or tag means now, and their files; from the cache without a network."""

from pathlib import Path

from huggingface_hub import HfApi, snapshot_download

from flows.config.errors import InputError
from flows.config.hub_access import PATIENCE_SECONDS, asking_hub
from flows.config.pretrained import HubModel
from rlhf_core.models.model_files import CONVERT, PICKLES

NOT_READ = ["*.gguf", "*.h5", "*.msgpack", "*.onnx", "original/*", *(f"*{ending}" for ending in PICKLES)]
"""Files of hub models that are not loaded here."""


def resolve(source: HubModel) -> HubModel:
    """The model with the commit that its branch or tag means now; without a network, the one that the cache knows.

    Raises:
        InputError: if neither has such a revision.
    """
    if not source.moves or source.commit is not None:
        return source
    commit: str | None
    try:
        with asking_hub(f"model {source.model}@{source.revision}"):
            commit = HfApi().model_info(source.model, revision=source.revision, timeout=PATIENCE_SECONDS).sha
    except InputError:
        if (folder := cached(source)) is None:
            raise
        commit = folder.name
    return source.model_copy(update={"commit": commit})


def download(source: HubModel) -> Path:
    """The folder of the cache with the files of a model; without a network, what lies there.

    Raises:
        InputError: if it cannot be had, or its weights are pickled.
    """
    name = f"model {source.model}@{source.pinned[:8]}"
    with asking_hub(name):
        folder = _snapshot(source)
    if not any(folder.glob("*.safetensors")):
        raise InputError(f"{name} has no weights as safetensors at its top; {CONVERT}")
    return folder


def cached(source: HubModel) -> Path | None:
    """The folder of the cache with a model, None where it has none or only a part of it; the hub is not asked."""
    try:
        return _snapshot(source, local_files_only=True)
    except (OSError, ValueError):
        return None


def _snapshot(source: HubModel, *, local_files_only: bool = False) -> Path:
    fetched = snapshot_download(
        source.model, revision=source.pinned, local_files_only=local_files_only, ignore_patterns=NOT_READ
    )
    return Path(fetched)
