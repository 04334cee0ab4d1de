"""GGUF files, in which llama.cpp and its kin keep a model with its tokenizer in one file, mostly quantised."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

MAGIC = b"GGUF"

KEYS = {"name": "general.name", "license": "general.license", "split": "tokenizer.ggml.pre"}

SHARD = re.compile(r"-\d{5}-of-\d{5}\.gguf$")


class GGUFNotes(NamedTuple):
    """What a GGUF file says of itself, as far as it does.

    Attributes:
        name: of the model.
        license: of the model.
        split: how its tokenizer splits texts before it looks up words.
    """

    name: str = ""
    license: str = ""
    split: str = ""


def check_gguf(path: Path) -> None:
    """See that a GGUF file is there and can be read here, without reading its weights.

    Raises:
        ValueError: naming the mend.
    """
    if not path.is_file():
        others = ", ".join(sorted(other.name for other in path.parent.glob("*.gguf")))
        raise ValueError(f"{path} is not there; {f'beside it are {others}' if others else 'check path and file'}")
    if find_spec("gguf") is None:
        raise ValueError(f"{path}: reading GGUF files needs the package gguf; pip install 'rlhf-ladder[gguf]'")
    if SHARD.search(path.name):
        raise ValueError(f"{path} is one part of a model; join the parts by `llama-gguf-split --merge`, and name that")
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise ValueError(f"{path} is no GGUF file; fetch it again")


def read_notes(path: Path) -> GGUFNotes:
    """What a GGUF file says of itself; the package gguf is imported here, and nowhere else."""
    from gguf import GGUFReader  # noqa: PLC0415

    fields = GGUFReader(path).fields
    said = {name: str(fields[key].contents()) for name, key in KEYS.items() if key in fields}
    return GGUFNotes(**said)
