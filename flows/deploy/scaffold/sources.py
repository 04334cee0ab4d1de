"""What the data files of a new project are taken for, and how much there is of them."""

import os
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from data_contracts.formats.convert import convert_rows
from data_contracts.formats.items import RawRow
from data_contracts.formats.registry import FORMATS, recognise
from data_contracts.records import COLUMNS, TEXTS, Kind
from flows.config.errors import InputError
from flows.data.file_search import find_files
from flows.data.files import read_file

READ_ROWS = 20_000
"""Raw rows that are read of a source, to measure it."""


class DataSource(NamedTuple):
    """A source as the configuration will name it.

    Attributes:
        path: as a person named it.
        fields: columns of its first row.
        settings: `path`, `format` and what else a source has.
        frames: what its first rows give, by kind of data; empty where no format fits.
    """

    path: Path
    fields: tuple[str, ...]
    settings: dict[str, Any]
    frames: dict[Kind, pd.DataFrame]


def read_source(path: Path, beginning: Path) -> DataSource:
    """Say what the files of a path are.

    Args:
        path: file, folder or glob.
        beginning: the project's folder, from which a relative path will be read.

    Raises:
        InputError: if there is no data file, or one cannot be read.
    """
    rows = list(islice(chain.from_iterable(read_file(file, file.name) for file in find_files(path)), READ_ROWS))
    if not rows:
        raise InputError(f"{path} holds no row: export it again")
    first = rows[0].row
    settings: dict[str, Any] = {"path": from_folder(path, beginning)}
    name = recognise(first)
    frames: dict[Kind, pd.DataFrame] = {}
    for kind in _kinds(name, first):
        frame = convert_rows(kind, FORMATS[str(name)][kind].convert, rows).frame
        if len(frame):
            frames[kind] = frame
    return DataSource(path, tuple(map(str, first)), settings | ({"format": name} if frames else {}), frames)


def from_folder(path: Path, folder: Path) -> str:
    """A path as it is written in a folder's configuration: absolute, or from that folder."""
    if path.is_absolute():
        return str(path)
    below = Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix()
    return below if below.startswith("../") else f"./{below}"


def without_source(sources: Iterable[DataSource]) -> list[Kind]:
    """Tables that no source gives."""
    given = {kind for source in sources for kind in source.frames}
    return [kind for kind in COLUMNS if kind not in given]


def texts_of(sources: Iterable[DataSource]) -> tuple[list[str], list[str]]:
    """Prompts, and responses of any kind, of all sources."""
    prompts: list[str] = []
    responses: list[str] = []
    for kind, frame in _frames(sources):
        for column in TEXTS[kind]:
            cells = [cell for cell in frame[column] if isinstance(cell, str)]
            (prompts if column == "prompt" else responses).extend(cells)
    return prompts, responses


def prompts_of(sources: Iterable[DataSource], kind: Kind) -> int:
    """Different prompts of a kind of data."""
    return len({str(prompt) for other, frame in _frames(sources) if other == kind for prompt in frame["prompt"]})


def _frames(sources: Iterable[DataSource]) -> Iterator[tuple[Kind, pd.DataFrame]]:
    return ((kind, frame) for source in sources for kind, frame in source.frames.items())


def _kinds(name: str | None, first: RawRow) -> list[Kind]:
    return [] if name is None else [kind for kind, adapter in FORMATS[name].items() if adapter.fits(first)]
