"""Models of the Hugging Face hub: what a branch or tag means now, and their files; from the cache without a network."""

from functools import partial
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download

from flows.config.errors import InputError
from flows.config.hub_access import PATIENCE_SECONDS, asking_hub
from flows.config.pretrained import HubModel

NOT_READ = ["*.gguf", "*.h5", "*.msgpack", "*.onnx", "original/*"]
"""Files of hub models that transformers does not load here."""

PICKLED = "*.bin"
"""Weights that are not read where there are others."""


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
        InputError: if it cannot be had.
    """
    with asking_hub(f"model {source.model}@{source.pinned[:8]}"):
        return _snapshot(source)


def cached(source: HubModel) -> Path | None:
    """The folder of the cache with a model, None where it has none or only a part of it; the hub is not asked."""
    try:
        return _snapshot(source, local_files_only=True)
    except (OSError, ValueError):
        return None


def _snapshot(source: HubModel, *, local_files_only: bool = False) -> Path:
    fetch = partial(snapshot_download, source.model, revision=source.pinned, local_files_only=local_files_only)
    folder = Path(fetch(ignore_patterns=[*NOT_READ, PICKLED]))
    return folder if any(folder.glob("*.safetensors")) else Path(fetch(ignore_patterns=NOT_READ))
