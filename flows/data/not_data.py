"""What a file or folder is that holds no data, and which command takes it."""

import json
from collections.abc import Sequence
from pathlib import Path

from flows.config.errors import InputError

SHOWN = 3

_CONFIG, _WEIGHTS = "config.json", ("*.safetensors", "*.safetensors.index.json", "*.gguf", "pytorch_model*.bin")
MODEL_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
"""What ends as data do in a model's folder."""

_ADAPTER = "adapter_config.json"

_MODEL = (
    "is a model's folder and holds no data: `rlhf init NAME --data FILE --model FOLDER` starts a project on it, and "
    '`rlhf generate FOLDER "a prompt"` asks it; name a data file that lies in it by its own name'
)
_STORAGE = (
    "is the storage of climbs and holds no data of yours: `rlhf ui`, `rlhf report` and `rlhf lineage MODEL` show what "
    "is in it; tables that were ingested lie in its folder snapshots, a Parquet file each"
)
_SNAPSHOTS = "is a folder of snapshots, which ingestion made, and no table: name one of its .parquet files, such as {}"
_PROJECT = "is a project's folder: `rlhf ingest ladder.yaml` in it reads the data that are named there; {}"

_BY_ENDING = {
    **dict.fromkeys((".yaml", ".yml"), "is a configuration, it seems: `rlhf ingest {}` reads the data that it names"),
    **dict.fromkeys((".safetensors", ".gguf", ".bin", ".pt", ".pth", ".ckpt"), "is a model's weights and no data"),
    **dict.fromkeys((".xlsx", ".xls", ".ods", ".numbers"), "is a spreadsheet: export it as CSV"),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".7z", ".rar"), "is an archive: unpack it"),
    **dict.fromkeys(
        (".bz2", ".xz", ".lzma", ".lz4", ".br", ".snappy"), "is packed in a form that is not read: unpack it"
    ),
    **dict.fromkeys((".db", ".sqlite", ".sqlite3", ".duckdb"), "is a database: export the table as CSV or Parquet"),
    **dict.fromkeys((".pkl", ".pickle"), "is pickled, which nobody should read of others: save it as Parquet or JSON"),
    **dict.fromkeys((".feather", ".orc", ".avro", ".npy", ".npz"), "is no format that is read: save it as Parquet"),
}


def what_it_is(name: str) -> str | None:
    """What a file is by its ending, with the mend; None where that is not known."""
    said = _BY_ENDING.get(Path(name).suffix.lower())
    return said and f"{name} {said.format(name)}"


def refuse_known_folders(path: Path, data: Sequence[Path]) -> None:
    """Refuse a folder that a command of this project or `save_pretrained` wrote.

    Args:
        path: as it is named.
        data: the files in it that end as data do.

    Raises:
        InputError: saying what it is and which command takes it.
    """
    for folder in dict.fromkeys([path, *(file.parent for file in data)]):
        if is_model(folder):
            raise InputError(f"{folder} {_MODEL}")
        if (folder / "mlflow.db").is_file():
            raise InputError(f"{folder} {_STORAGE}")
    if tables := [file for file in data if file.with_suffix("").with_suffix(".profile.json") in data]:
        raise InputError(f"{path} {_SNAPSHOTS.format(tables[0])}")
    if (path / "ladder.yaml").is_file() and (path / "ladder.schema.json") in data:
        rest = [file.relative_to(path) for file in data if file.name != "ladder.schema.json"]
        raise InputError(f"{path} {_PROJECT.format(f'name {rest[0]} to see it' if rest else 'none lie in it')}")


def is_model(folder: Path) -> bool:
    """Whether `save_pretrained` wrote a folder, or an adapter into it."""
    if (folder / _ADAPTER).is_file():
        return True
    try:
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        config = None
    named = isinstance(config, dict) and ("model_type" in config or "architectures" in config)
    return named or ((folder / _CONFIG).is_file() and any(any(folder.glob(pattern)) for pattern in _WEIGHTS))


def nothing_in(folder: Path, endings: Sequence[str]) -> str:
    """That a folder holds no data, and what it does hold."""
    inside = sorted(item.name for item in folder.iterdir())
    if not inside:
        return f"{folder} is an empty folder: check the path, and RLHF_DATA if it is relative"
    files = ", ".join(inside[:SHOWN]) + (f" and {len(inside) - SHOWN} more" if len(inside) > SHOWN else "")
    return f"{folder} holds no {', '.join(endings)} file, but {files}: check the path, and RLHF_DATA if it is relative"
