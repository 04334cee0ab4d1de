"""GGUF files, in which llama.cpp and its kin keep a model with its tokenizer in one file, mostly quantised."""

import re
from importlib.util import find_spec
from pathlib import Path

MAGIC = b"GGUF"

SHARD = re.compile(r"-\d{5}-of-\d{5}\.gguf$")


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


def described(path: Path) -> dict[str, str]:
    """What a GGUF file says of itself: `name` and `license`, as far as it does."""
    from gguf import GGUFReader  # noqa: PLC0415

    fields = GGUFReader(path).fields
    return {
        name: str(fields[f"general.{name}"].contents()) for name in ("name", "license") if f"general.{name}" in fields
    }
