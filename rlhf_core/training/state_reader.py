"""Reading of kept states: nothing in one is run, though torch writes their lists of contents as pickles.

Seals tell damage, not forgery, and a folder of states may be one that several people write to.
"""

import io
import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta
from torch.distributed.checkpoint.planner import ReadItem
from torch.distributed.checkpoint.state_dict_loader import load

CONTENTS = ".metadata"
"""The file in which torch lists what a state holds."""

_CHECKPOINT = "torch.distributed.checkpoint"

NAMED = {
    *((f"{_CHECKPOINT}.metadata", name) for name in ("Metadata", "MetadataIndex", "StorageMeta")),
    *((f"{_CHECKPOINT}.metadata", f"{kind}StorageMetadata") for kind in ("Tensor", "Chunk", "Bytes")),
    *((f"{_CHECKPOINT}.metadata", name) for name in ("TensorProperties", "_MEM_FORMAT_ENCODING")),
    (f"{_CHECKPOINT}.filesystem", "_StorageInfo"),
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    ("pathlib", "PosixPath"),
}
"""Module and name of all that such a list is made of, besides types of numbers."""


def read_state(state: dict[str, Any], folder: Path) -> None:
    """Bring what a state holds into parts of the same names, in place; all ranks call it together.

    Args:
        state: what was given to `torch.distributed.checkpoint.save`.
        folder: where that wrote it.

    Raises:
        Exception: of torch's, if the state holds anything but tensors, numbers and texts.
    """
    with warnings.catch_warnings(action="ignore"):  # one process is told that it is alone
        load(state, storage_reader=_Reader(folder), planner=_Planner())


def foreign(folder: Path) -> str:
    """What in a state is none of what torch writes; empty where nothing is."""
    try:
        _Reader(folder).read_metadata()
    except pickle.UnpicklingError as error:
        return f"its {CONTENTS} {error}"
    return ""


class _Contents(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        is_number = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if is_number or (module, name) in NAMED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"names {module}.{name}, which is not run")


class _Reader(FileSystemReader):
    def read_metadata(self, *_: Any, **of: Any) -> Metadata:
        with Path(self._get_metadata_path(of.get("rank"))).open("rb") as file:
            contents: Metadata = _Contents(file).load()
        contents.storage_meta = contents.storage_meta or StorageMeta()
        contents.storage_meta.load_id = self.load_id
        return contents


class _Planner(DefaultLoadPlanner):
    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        torch.load(value, weights_only=True)
        value.seek(0)
        super().load_bytes(read_item, value)
