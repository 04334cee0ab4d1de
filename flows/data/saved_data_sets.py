"""Data sets that the library `datasets` saved or cached: which files hold their rows."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from flows.config.errors import InputError

SPLITS, STATE, INFO = "dataset_dict.json", "state.json", "dataset_info.json"
"""What `save_to_disk` writes beside the rows."""


def without_caches(files: list[Path]) -> list[Path]:
    """Files of ordinary folders, and of saved data sets only those that hold their rows, in order.

    Raises:
        InputError: if a folder holds several splits, or a state that is none.
    """
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for file in files:
        by_folder[file.parent].append(file)
    data: list[Path] = []
    for folder, inside in by_folder.items():
        names = {file.name for file in inside}
        if SPLITS in names:
            _refuse_splits(folder)
        if (folder / STATE).is_file() and (folder / INFO).is_file():
            rows = _saved_rows(folder)
            data += [file for file in rows if file in inside or not file.exists()]
        elif any(name.endswith(".arrow") for name in names):
            data += [file for file in inside if file.name != INFO and not file.name.startswith("cache-")]
        else:
            data += [file for file in inside if file.name != SPLITS]
    return sorted(data)


def _refuse_splits(folder: Path) -> None:
    splits = _read(folder / SPLITS).get("splits")
    if isinstance(splits, list) and len(splits) > 1:
        raise InputError(
            f"{folder}: is a saved DatasetDict with the splits {', '.join(map(str, splits))}: name the folder of one, "
            f"such as {folder / str(splits[0])}"
        )


def _saved_rows(folder: Path) -> list[Path]:
    state = _read(folder / STATE)
    if state.get("_indices_data_files"):
        raise InputError(
            f"{folder}: is a selection that an old version of `datasets` saved: load it and save it again by "
            "`load_from_disk(...).flatten_indices().save_to_disk(...)`"
        )
    try:
        return [folder / str(item["filename"]) for item in state["_data_files"]]
    except (KeyError, TypeError):
        raise InputError(f"{folder / STATE}: names no files of rows: save the data set again") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise InputError(f"{path}: is not what `save_to_disk` writes: save the data set again")
    return content
