"""Models of the Hugging Face hub: what a branch or tag means now, and their files; from the cache without a network."""

from functools import partial
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, snapshot_download

from flows.config.errors import InputError
from flows.config.pretrained import HubModel

NOT_READ = ["*.gguf", "*.h5", "*.msgpack", "*.onnx", "original/*"]
"""Files of hub models that transformers does not load here."""

PICKLED = "*.bin"
"""Weights that are not read where there are others."""

UNREACHABLE = (OSError, ValueError, httpx2.HTTPError)
"""What asking the hub raises."""

TIMEOUT_SECONDS = 20.0


def resolve(source: HubModel) -> HubModel:
    """The model with the commit that its branch or tag means now; without a network, the one that the cache knows.

    Raises:
        InputError: if neither has such a revision.
    """
    if not source.moves or source.commit is not None:
        return source
    try:
        commit = HfApi().model_info(source.model, revision=source.revision, timeout=TIMEOUT_SECONDS).sha
    except UNREACHABLE:
        folder = cached(source)
        commit = None if folder is None else folder.name
    if commit is None:
        raise InputError(
            f"{source.model} has no revision {source.revision} on the hub or in the cache of this machine: check name, "
            "revision and network"
        )
    return source.model_copy(update={"commit": commit})


def download(source: HubModel) -> Path:
    """The folder of the cache with the files of a model; without a network, what lies there.

    Raises:
        InputError: if it cannot be had.
    """
    try:
        return _snapshot(source)
    except UNREACHABLE as error:
        reason = str(error).strip().splitlines()[0]
        name = f"{source.model}@{source.pinned[:8]}"
        raise InputError(f"{name}: cannot be had from the hub ({reason}): check name, revision and network") from None


def cached(source: HubModel) -> Path | None:
    """The folder of the cache with a model, None where it has none or only a part of it; the hub is not asked."""
    try:
        return _snapshot(source, local_files_only=True)
    except UNREACHABLE:
        return None


def _snapshot(source: HubModel, *, local_files_only: bool = False) -> Path:
    fetch = partial(snapshot_download, source.model, revision=source.pinned, local_files_only=local_files_only)
    folder = Path(fetch(ignore_patterns=[*NOT_READ, PICKLED]))
    return folder if any(folder.glob("*.safetensors")) else Path(fetch(ignore_patterns=NOT_READ))
