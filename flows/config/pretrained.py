"""Where a model comes from that is not trained here: the hub, a folder, a GGUF file, the registry."""

import datetime
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, SerializationInfo, Tag
from pydantic import SerializerFunctionWrapHandler as Handler
from pydantic import model_serializer as serialised

from flows.config.data import HubName
from flows.config.folders import plain_path
from rlhf_core.config import Frozen

SCHEME = "models:/"

PLACE = re.compile(r"~|\.{0,2}/|\.{1,2}$")
"""How a text begins that is a path."""

TAKEN = "taken"
"""What lineage calls the content of a model from elsewhere."""

COMMIT = re.compile(r"[0-9a-f]{40}")

IDENTITY_CONTEXT = {"identity": True}
"""Serialisation context that leaves out where a model lies and what its revision was called: keys need what it is."""

ModelPath = Annotated[Path, AfterValidator(lambda path: plain_path(Path(path).expanduser().absolute()))]

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Pretrained(Frozen):
    """A model that is not trained here."""

    date: datetime.date | None = None
    """Day to which a chat template that reads the clock is pinned; null is the day on which it is first taken."""
    special_tokens: Literal["text", "allow"] = "text"
    """What becomes of the model's special tokens, such as `<|im_end|>`, where the texts of data and of users write
    them: they stay text, or are read as tokens, so that texts may call tools, and end turns in anyone's name. It holds
    for whatever is trained from a base; a policy from elsewhere reads as its base does."""


class HubModel(Pretrained):
    """A model on the hub; needs a network, unless the local cache has it."""

    model: HubName
    """Name on the hub, `owner/name`."""
    revision: Annotated[str, Field(pattern=r"^[\w./-]+$")]
    """A full commit hash, or a branch or tag. These may move: a run takes what they mean when it starts."""
    commit: Annotated[str, Field(pattern=rf"^{COMMIT.pattern}$")] | None = None
    """What a branch or tag meant when the run started, which fills it in."""

    @property
    def moves(self) -> bool:
        """Whether the revision may mean another commit one day."""
        return COMMIT.fullmatch(self.revision) is None

    @property
    def pinned(self) -> str:
        """The commit, or the revision while it is not resolved."""
        return self.commit or self.revision

    @property
    def name(self) -> str:
        """What `from_pretrained` is told."""
        return self.model

    @property
    def loading(self) -> dict[str, str]:
        """What it is told beside that."""
        return {"revision": self.pinned}

    @serialised(mode="wrap")
    def _said(self, handler: Handler, info: SerializationInfo) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        if info.context == IDENTITY_CONTEXT:
            fields |= {"revision": self.pinned, "commit": None}
        return fields


class LocalModel(Pretrained):
    """A model on this machine, which is what its files hold, wherever they lie."""

    path: ModelPath
    """Folder; relative to the working directory, or absolute."""
    digest: Sha256 | None = None
    """SHA-256 of the files that are read. A run fills it in; one that is written down must be that of the folder."""

    @property
    def place(self) -> Path:
        """Where it lies, as people write it."""
        return self.path

    @property
    def name(self) -> str:
        """What `from_pretrained` is told."""
        return str(self.path)

    @property
    def loading(self) -> dict[str, str]:
        """What it is told beside that."""
        return {}

    @serialised(mode="wrap")
    def _said(self, handler: Handler, info: SerializationInfo) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        return {name: value for name, value in fields.items() if name != "path" or info.context != IDENTITY_CONTEXT}


class FolderModel(LocalModel):
    """A folder that `from_pretrained` reads."""


class HubBase(HubModel):
    """A pretrained causal language model on the hub."""

    kind: Literal["hub"] = "hub"
    """A base from the Hugging Face hub."""


class FolderBase(FolderModel):
    """A pretrained causal language model in a folder that `from_pretrained` reads."""

    kind: Literal["folder"] = "folder"
    """A base from a folder."""


class GGUFBase(LocalModel):
    """A pretrained causal language model in a GGUF file, which is dequantised once; needs the extra `gguf`."""

    kind: Literal["gguf"] = "gguf"
    """A base from a GGUF file."""
    file: Annotated[str, Field(pattern=r"^[^/]+\.gguf$")]
    """The file in the folder."""

    @property
    def place(self) -> Path:
        """The file."""
        return self.path / self.file

    @property
    def loading(self) -> dict[str, str]:
        """The name of the file."""
        return {"gguf_file": self.file}


def _check_address(text: str) -> str:
    if not re.fullmatch(rf"{SCHEME}[^/@\s]+(/\d+|@[\w-]+)", text):
        raise ValueError(
            f"'{text}' names no registered model; write models:/name/version or models:/name@alias, or a folder as "
            f"./{text}, or one on the hub as {{model: owner/name, revision: main}}"
        )
    return text


def _read_path(written: Any) -> Any:
    return {"path": written} if isinstance(written, str) and PLACE.match(written) else written


def _origin(source: Any) -> str:
    if isinstance(source, str):
        return "registry"
    return "folder" if isinstance(source, FolderModel) or (isinstance(source, dict) and "path" in source) else "hub"


ModelSource = Annotated[
    Annotated[str, AfterValidator(_check_address), Tag("registry")]
    | Annotated[HubModel, Tag("hub")]
    | Annotated[FolderModel, Tag("folder")],
    Discriminator(_origin),
    BeforeValidator(_read_path),
]
"""A model from elsewhere: an address in the registry, the `path` of a folder, or `model` and `revision` on the hub. A
text that begins like a path, such as `./model`, is that of a folder."""

TakenBase = HubBase | FolderBase | GGUFBase
