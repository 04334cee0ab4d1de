"""Which files a path means: hidden and backup copies are passed over, and saved data sets know their own files."""

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from flows.config.errors import InputError
from flows.data.not_data import MODEL_FILES, is_model, nothing_in, refuse_known_folders
from flows.data.text_files import PACKINGS

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow")

_BACKUPS = ("~", ".bak", ".backup", ".orig", ".old", ".swp", ".tmp", ".part", ".incomplete")
_COPY_FOLDERS = ("__MACOSX", "__pycache__", "_delta_log")

_SPLITS, _STATE, _INFO = "dataset_dict.json", "state.json", "dataset_info.json"
"""What `save_to_disk` of the library `datasets` writes beside the rows."""


class FoundFiles(NamedTuple):
    """The data files that a path means, and the copies that its folders hold beside them; both in order."""

    data: list[Path]
    copies: list[Path]


def search_files(path: Path) -> FoundFiles:
    """The data files that a path means: itself, those in a folder, or those that a glob matches.

    Left out as copies are names that begin with a dot below a named folder, `~$` locks, `__MACOSX`, backups of data
    files, and what `datasets` cached. A file, folder or pattern that is itself named by a dot is read.

    Raises:
        InputError: if there is no data file, a folder cannot be listed, or it holds several splits.
    """
    base = _named_part(path)
    try:
        if path.is_file():
            if path.name in MODEL_FILES and is_model(path.parent):
                refuse_known_folders(path.parent, [])
            return FoundFiles([path], [])
        files = _walk(path) if path.is_dir() else sorted(item for item in _glob(path, base) if item.is_file())
    except OSError as error:
        raise InputError(f"{error.filename}: may not be listed ({error.strerror}): give this user the right") from None
    except ValueError as error:
        raise InputError(f"{path} is no pattern of files ({error}): mend it") from None
    hidden_meant = any(part.startswith(".") for part in path.parts[len(base.parts) :])
    named = [file for file in files if hidden_meant or not _is_copy(file.relative_to(base))]
    if path.is_dir():
        refuse_known_folders(path, named)
    data = _without_caches(named)
    for file in data:
        if not file.exists():
            raise InputError(f"{file} is not here, or a link to a file that is not: fetch it, as by `git annex get`")
        if not file.is_file():
            raise InputError(f"{file} is a pipe, a socket or a device, and no file: save what comes from it as one")
    kept = {*data, *(file for file in named if file.name in (_SPLITS, _STATE, _INFO))}
    copies = [file for file in files if file not in kept]
    if not data:
        raise InputError(_nothing(path, copies))
    return FoundFiles(data, copies)


def find_files(path: Path) -> list[Path]:
    """The data files that a path means, in order; `search_files` says what was passed over."""
    return search_files(path).data


def unpacked(name: str) -> str:
    """The name of a file without the ending that says how it is packed."""
    return name.removesuffix(next((ending for ending in PACKINGS if name.endswith(ending)), ""))


def _nothing(path: Path, copies: list[Path]) -> str:
    if path.exists() and not path.is_dir():
        return f"{path} is a pipe, a socket or a device, and no file: save what comes from it as one"
    if path.is_symlink():
        return f"{path} is a link to a file that is not here: fetch it, as by `git annex get`"
    if copies:
        return f"{path} holds only hidden files and copies, such as {copies[0].name}: name the file itself to read it"
    if path.is_dir():
        return nothing_in(path, SUFFIXES)
    return f"{path} does not exist: check the path, and RLHF_DATA if it is relative"


def _named_part(path: Path) -> Path:
    """The part of a path before its first wildcard."""
    parts = path.parts
    magic = next((index for index, part in enumerate(parts) if any(sign in part for sign in "*?[")), len(parts))
    return Path(*parts[:magic])


def _glob(pattern: Path, base: Path) -> Iterator[Path]:
    if base != pattern:
        yield from base.glob(str(pattern.relative_to(base)))


def _walk(folder: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise error

    names = [Path(root) / name for root, _, files in os.walk(folder, onerror=refuse) for name in files]
    return sorted(path for path in names if _is_like_data(path.name))


def _is_like_data(name: str) -> bool:
    """Whether a file is data by its ending, or a backup of such a file."""
    for ending in _BACKUPS:
        name = name.removesuffix(ending)
    return unpacked(name).endswith(SUFFIXES)


def _is_copy(below: Path) -> bool:
    """Whether a name below the named folder says that it is nobody's data."""
    *folders, name = below.parts
    return (
        any(part.startswith(".") or part in _COPY_FOLDERS for part in folders)
        or name.startswith((".", "~$", "#"))
        or name.endswith(_BACKUPS)
    )


def _without_caches(files: list[Path]) -> list[Path]:
    """Files of ordinary folders, and of saved data sets only those that hold their rows."""
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for file in files:
        by_folder[file.parent].append(file)
    data: list[Path] = []
    for folder, inside in by_folder.items():
        names = {file.name for file in inside}
        if _SPLITS in names:
            _refuse_splits(folder)
        if (folder / _STATE).is_file() and (folder / _INFO).is_file():
            rows = _saved_rows(folder)
            data += [file for file in rows if file in inside or not file.exists()]
        elif any(name.endswith(".arrow") for name in names):
            data += [file for file in inside if file.name != _INFO and not file.name.startswith("cache-")]
        else:
            data += [file for file in inside if file.name != _SPLITS]
    return sorted(data)


def _refuse_splits(folder: Path) -> None:
    splits = _read(folder / _SPLITS).get("splits")
    if isinstance(splits, list) and len(splits) > 1:
        raise InputError(
            f"{folder}: is a saved DatasetDict with the splits {', '.join(map(str, splits))}: name the folder of one, "
            f"such as {folder / str(splits[0])}"
        )


def _saved_rows(folder: Path) -> list[Path]:
    state = _read(folder / _STATE)
    if state.get("_indices_data_files"):
        raise InputError(
            f"{folder}: is a selection that an old version of `datasets` saved: load it and save it again by "
            "`load_from_disk(...).flatten_indices().save_to_disk(...)`"
        )
    try:
        return [folder / str(item["filename"]) for item in state["_data_files"]]
    except (KeyError, TypeError):
        raise InputError(f"{folder / _STATE}: names no files of rows: save the data set again") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise InputError(f"{path}: is not what `save_to_disk` writes: save the data set again")
    return content
