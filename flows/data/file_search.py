"""Which files a path means: no data are passed over without a word."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from flows.config.errors import InputError
from flows.data.not_data import MODEL_FILES, is_model, nothing_in, refuse_known_folders, what_it_is
from flows.data.saved_data_sets import INFO, SPLITS, STATE, without_caches
from flows.data.text_files import PACKINGS

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow")

_OTHER_TABLES = (".jsonlines", ".json5", ".tab", ".psv", ".pq", ".parq", ".feather", ".orc", ".avro")
"""Endings of tables that are not read."""

_OTHER_PACKINGS = (".bz2", ".xz", ".lzma", ".lz4", ".br", ".snappy", ".zip", ".7z", ".rar")

_BACKUPS = ("~", ".bak", ".backup", ".orig", ".old", ".swp", ".tmp", ".part", ".incomplete")
_COPY_FOLDERS = ("__MACOSX", "__pycache__", "_delta_log")

_ENDINGS = 20
"""Endings of what is no data that are told apart."""


class FoundFiles(NamedTuple):
    """What a path means; each in order.

    Attributes:
        data: files that are read.
        copies: hidden files and backups of data, which its folders hold beside them.
        others: files of its folders that are no data by their endings.
    """

    data: list[Path]
    copies: list[Path]
    others: list[Path]

    def passed_over(self, folder: Path) -> Counter[str]:
        """How many files are not read, by reason, in which names are those below a folder."""
        reasons = Counter(f"hidden file or backup, not read: {name_below(file, folder)}" for file in self.copies)
        by_ending: dict[str, list[Path]] = defaultdict(list)
        for file in self.others:
            is_told = file.suffix in by_ending or len(by_ending) < _ENDINGS
            by_ending[file.suffix if is_told else ""].append(file)
        for ending, files in by_ending.items():
            reasons[f"no data by the ending, not read: *{ending}, such as {name_below(files[0], folder)}"] = len(files)
        return reasons


def search_files(path: Path) -> FoundFiles:
    """The data files that a path means: itself, those in a folder, or those that a glob matches.

    Left out as copies are names that begin with a dot below a named folder, `~$` locks, `__MACOSX`, backups of data
    files, and what `datasets` cached. A file, folder or pattern that is itself named by a dot is read.

    Raises:
        InputError: if there is no data file, a folder cannot be listed, or it holds several splits; or data that would
            not be read, behind a link, in a folder that a glob matches, or in another form.
    """
    base = _named_part(path)
    try:
        if path.is_file():
            if path.name in MODEL_FILES and is_model(path.parent):
                refuse_known_folders(path.parent, [])
            return FoundFiles([path], [], [])
        is_folder = path.is_dir()
        items = list(_walk(path) if is_folder else _glob(path, base))
    except OSError as error:
        raise InputError(f"{error.filename}: may not be listed ({error.strerror}): give this user the right") from None
    except ValueError as error:
        raise InputError(f"{path} is no pattern of files ({error}): mend it") from None
    hidden_meant = any(part.startswith(".") for part in path.parts[len(base.parts) :])
    copies = [] if hidden_meant else [item for item in items if _is_copy(item.relative_to(base))]
    meant = sorted({*items}.difference(copies))
    files = [item for item in meant if not item.is_dir()]
    named = [file for file in files if not is_folder or _is_like_data(file.name)]
    if is_folder:
        refuse_known_folders(path, named)
    others = sorted({*files}.difference(named))
    data = without_caches(named)
    _refuse_what_is_lost(path, [item for item in meant if item.is_dir()], files, others)
    for file in data:
        if not file.exists():
            raise InputError(f"{file} is not here, or a link to a file that is not: fetch it, as by `git annex get`")
        if not file.is_file():
            raise InputError(f"{file} is a pipe, a socket or a device, and no file: save what comes from it as one")
    cached = {file for file in named if file.name not in (SPLITS, STATE, INFO)}.difference(data)
    passed = sorted({*(item for item in copies if _is_like_data(item.name) and not item.is_dir()), *cached})
    if not data:
        raise InputError(_nothing(path, passed))
    return FoundFiles(data, passed, others)


def find_files(path: Path) -> list[Path]:
    """The data files that a path means, in order; `search_files` says what was passed over."""
    return search_files(path).data


def unpacked(name: str) -> str:
    """The name of a file without the ending that says how it is packed."""
    return name.removesuffix(next((ending for ending in PACKINGS if name.endswith(ending)), ""))


def name_below(path: Path, folder: Path) -> str:
    """What a file is called below a folder; its bare name if it lies elsewhere."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name


def ending_problem(name: str) -> str:
    """What is to be said of a file whose ending is none of those that are read, and the mend."""
    return (
        what_it_is(name) or f"{name}: has none of the endings {', '.join(SUFFIXES)} (with .gz, .zst or not): rename it"
    )


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
    """What a pattern matches; the links that `**` does not follow are among it."""
    if base == pattern:
        return
    below = pattern.relative_to(base)
    for parent in list(below.parents)[::-1]:
        for folder in [base] if parent == Path() else base.glob(str(parent)):
            if folder.is_dir():
                os.scandir(folder).close()  # which says what may not be listed, where `glob` passes it over
                if parent.name == "**":
                    yield from filter(_is_linked_folder, folder.iterdir())
    yield from base.glob(str(below))


def _walk(folder: Path) -> Iterator[Path]:
    """The files of a folder and those below it, and the linked folders there, which are not entered."""

    def refuse(error: OSError) -> None:
        raise error

    for root, folders, files in os.walk(folder, onerror=refuse):
        yield from (Path(root) / name for name in files)
        yield from (path for name in folders if _is_linked_folder(path := Path(root) / name))


def _is_linked_folder(path: Path) -> bool:
    return path.is_symlink() and path.is_dir()


def _refuse_what_is_lost(path: Path, folders: list[Path], files: list[Path], others: list[Path]) -> None:
    """Refuse data that are meant, as it seems, and would not be read.

    Args:
        path: as it is named.
        folders: those that are not entered, as links, or as they match a pattern.
        files: those that are meant.
        others: those of them that are no data by their endings.
    """
    for file in others:
        if _is_in_other_form(file.name) and file.with_suffix("") not in files:
            raise InputError(f"{ending_problem(str(file))}, or name the files of {path} that are meant")
    entered = {parent for file in files for parent in file.parents}
    here = _named_part(path).resolve()
    for folder in folders:
        if folder in entered or (folder.is_symlink() and path.is_dir() and folder.resolve().is_relative_to(here)):
            continue
        if lost := next((file for file in _walk(folder) if _is_data_below(file.relative_to(folder))), None):
            what = "a link to a folder, which is not followed" if folder.is_symlink() else "a folder, and no file"
            raise InputError(f"{folder} is {what}, and holds {lost.name}: name it as a path of its own")


def _is_data_below(file: Path) -> bool:
    return _is_like_data(file.name) and not _is_copy(file)


def _is_in_other_form(name: str) -> bool:
    """Whether the ending of a file is that of a table, and none that is read."""
    name = name.lower()
    for packing in (*PACKINGS, *_OTHER_PACKINGS):
        name = name.removesuffix(packing)
    return name.endswith((*SUFFIXES, *_OTHER_TABLES))


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
