"""The files of a saved model: which of them are read, and whether all are there and whole, before any is loaded."""

import json
import os
import re
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

CONFIG = "config.json"

ADAPTER = "adapter_config.json"

WEIGHTS = "model.safetensors"
"""Name of weights in one file."""

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
"""Endings of pickled weights: a pickle is a program, which runs when it is read."""

INDEX = ".index.json"
"""Ends the name of a file that says in which shard each weight is."""

READ = (".json", ".model", ".spm", ".tiktoken", ".txt", ".codes", ".jinja")
"""Endings of configurations, vocabularies and templates."""

NOTES = ("readme.md", "licen", "notice")
"""How names of a model's card, its licence and its notices begin."""

NOT_READ = (*NOTES, "readme", "requirements", "trainer_state", "training_args", "optimizer", "scheduler")
"""How names of notes, and of states of trainers, begin."""

SHARDS_OF_TRAINERS = (
    "*world_size*.pt",
    *(f"{below}{name}" for below in ("", "*/", "*/*/") for name in ("*.distcp", "*_states.pt")),
)
"""Files of FSDP, DeepSpeed and verl, which lie no deeper; a whole disk is not searched."""

POINTER = b"version https://git-lfs"

SHOWN = 4
"""Names that a message lists."""

CONVERT = (
    "pickled weights may run any code and are never read here: where you trust them, convert them by "
    "`AutoModelForCausalLM.from_pretrained(here).save_pretrained(there)`, or AutoModelForSequenceClassification for a "
    "reward model, put the tokenizer beside them, and name that folder"
)

MEND = "name a folder that `save_pretrained` wrote"


def read_files(folder: Path) -> list[Path]:
    """The files that decide what `from_pretrained` makes of a folder, in the order of their names.

    Notes, states of trainers, and weights in forms that are not loaded here are none of them.

    Raises:
        ValueError: as `check_files`.
    """
    check_files(folder)
    inside = [*folder.iterdir(), *folder.glob("additional_chat_templates/*.jinja")]
    texts = (path for path in inside if path.is_file() and path.suffix in READ)
    settings = {path for path in texts if not _is_note(path) and not _is_index(path)}
    return sorted(settings.union(weight_files(folder)))


def keep_notes(folder: Path, out: Path) -> None:
    """Copy what must stay with a model that is passed on: its card, its licence and its notices."""
    for path in folder.iterdir():
        if path.is_file() and path.name.lower().startswith(NOTES):
            shutil.copyfile(path, out / path.name)


def check_files(folder: Path) -> None:
    """See whether a folder holds a whole model, without loading it.

    Raises:
        ValueError: as `check_kind`, or naming the file of weights that is missing or damaged, or the weight that lies
            in two shards or in another than the index says, and the mend.
    """
    check_kind(folder)
    weights = weight_files(folder)
    if not weights:
        raise ValueError(f"{folder} holds no {WEIGHTS}, in one file or in shards; {_instead(folder)}")
    inside = {path: _weights_in(path) for path in weights}
    if weights != [folder / WEIGHTS]:
        _check_index(folder / f"{WEIGHTS}{INDEX}", inside)


def check_kind(folder: Path) -> None:
    """See whether a folder is that of a model, whole or not.

    Raises:
        ValueError: saying what it holds instead, and the mend.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} {'is a file' if folder.exists() else 'is not there'}; {MEND}")
    if (folder / ADAPTER).is_file():
        base = read_document(folder / ADAPTER).get("base_model_name_or_path") or "a base that it does not name"
        raise ValueError(
            f"{folder} holds an adapter on {base}, not a whole model; load it with peft, and name the folder that "
            "`merge_and_unload().save_pretrained(...)` writes"
        )
    if not (folder / CONFIG).is_file():
        raise ValueError(f"{folder} holds no {CONFIG}, so it is no model; {_instead(folder)}")
    read_document(folder / CONFIG)


def weight_files(folder: Path) -> list[Path]:
    """The files of weights that `from_pretrained` would read, whether or not all shards are there."""
    if (folder / WEIGHTS).exists():
        return [folder / WEIGHTS]
    index = folder / f"{WEIGHTS}{INDEX}"
    return _shards(index) if index.is_file() else []


def _shards(index: Path) -> list[Path]:
    """The files that an index of shards names, which lie beside it.

    Raises:
        ValueError: if it names others.
    """
    weights = read_document(index).get("weight_map")
    names = set(weights.values()) if isinstance(weights, dict) and all(map(_is_shard, weights.values())) else set()
    if not names:
        raise ValueError(
            f"{index}: `weight_map` must name for each weight a file that ends in .safetensors and lies beside it; "
            "fetch or save it again"
        )
    return [index.with_name(name) for name in sorted(names)]


def _is_shard(name: object) -> bool:
    return isinstance(name, str) and name.endswith(".safetensors") and Path(name).name == name


def _is_note(path: Path) -> bool:
    return path.name.lower().startswith(NOT_READ)


def _is_index(path: Path) -> bool:
    return path.name.endswith(INDEX)


def read_document(path: Path) -> dict[str, Any]:
    """The settings in a JSON file of a model.

    Raises:
        ValueError: if it holds none.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read ({error}); fetch or save it again") from None
    if not isinstance(document, dict):
        raise ValueError(f"{path} is no mapping of settings; fetch or save it again")
    return document


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Let weights that are written inside be files as any other: by what the disk says, and by who may read them.

    Raises:
        OSError: with its number and the folder, where safetensors has it in the words of an error of its own.
    """
    try:
        yield
    except SafetensorError as error:
        said = re.search(r"os error (\d+)", str(error))
        if said is None:
            raise
        raise OSError(int(said[1]), os.strerror(int(said[1])), str(folder)) from None
    for config in folder.glob("*config.json"):
        for weights in folder.glob("*.safetensors"):  # made for their owner alone
            weights.chmod(stat.S_IMODE(config.stat().st_mode))


def _weights_in(path: Path) -> list[str]:
    """The names of the weights in a file, which is there and whole."""
    if not path.is_file():
        if path.exists():
            raise ValueError(f"{path} is a device, a pipe or a folder, and no file; fetch or save it again")
        raise ValueError(f"{path} is missing, and the index beside it lists weights in it; fetch or save it again")
    with path.open("rb") as file:
        if file.read(len(POINTER)) == POINTER:
            raise ValueError(f"{path} is a pointer of Git LFS, not the weights; fetch them by `git lfs pull`")
    try:
        with safe_open(path, "np") as weights:
            return list(weights.keys())
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is cut short or damaged ({error}); fetch or save it again") from None


def _check_index(index: Path, inside: Mapping[Path, Sequence[str]]) -> None:
    """See that every weight lies in one shard, the one that the index names; else any of two would be read."""
    mixed = "shards of two models or versions seem to be mixed; fetch or save all of them again"
    places: dict[str, str] = {}
    for path, names in inside.items():
        for name in names:
            if (other := places.setdefault(name, path.name)) != path.name:
                raise ValueError(f"{index.parent}: {name} lies in {other} and in {path.name}: {mixed}")
    for name, shard in read_document(index)["weight_map"].items():
        if (place := places.get(name, shard)) != shard:
            raise ValueError(f"{index} says that {name} lies in {shard}, and it lies in {place}: {mixed}")


def _instead(folder: Path) -> str:
    """What to name instead of a folder without a model, by what lies in it."""
    if below := sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}")):
        more = f" and {len(below) - SHOWN} more" if len(below) > SHOWN else ""
        return f"there are models in it, name one: {', '.join(below[:SHOWN])}{more}"
    if gguf := sorted(path.name for path in folder.glob("*.gguf")):
        return f"for {gguf[0]} write base: {{kind: gguf, path: {folder}, file: {gguf[0]}}}"
    if any(any(folder.glob(pattern)) for pattern in SHARDS_OF_TRAINERS):
        return "it holds the shards of a trainer, which its own tool merges into such a folder; name that"
    if pickles := sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES and not _is_note(path)):
        return f"it holds {pickles[0]}; {CONVERT}"
    return MEND
