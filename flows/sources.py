"""Where raw tables come from: the embedded world, files, or the hub."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from data_contracts.readers import READERS, Read, ReadError, read_json_lines, read_rows
from data_contracts.records import COLUMNS, Kind
from data_contracts.validation import ROW
from flows.config import DataConfig, EmbeddedData, FileData, FileSource, HubSource, InputError
from rlhf_core.worlds.helpdesk.data import generate

DATA_FOLDER = "RLHF_DATA"


class Tables(NamedTuple):
    """Raw tables by kind, in the columns of their contracts, and rows left out by source and reason."""

    frames: dict[Kind, pd.DataFrame]
    skipped: dict[str, int]


def load_tables(data: DataConfig, *, seed: int) -> Tables:
    """Generate or read the three tables.

    Args:
        data: where they come from.
        seed: seed of the embedded world.

    Returns:
        The tables, not yet held against their contracts.

    Raises:
        ReadError: if a file is missing or damaged.
        InputError: if RLHF_DATA is needed and not set.
    """
    if isinstance(data, EmbeddedData):
        world = generate(data, seed=seed)
        rows = {"demonstrations": world.demonstrations, "preferences": world.preferences, "prompts": world.prompts}
        return Tables(
            {kind: pd.DataFrame(rows[kind], columns=list(COLUMNS[kind]), dtype=object) for kind in COLUMNS}, {}
        )
    skipped: Counter[str] = Counter()
    frames: dict[Kind, pd.DataFrame] = {}
    for kind in COLUMNS:
        reads = [(source.reader, _read(kind, source)) for source in getattr(data, kind)]
        frames[kind] = pd.concat([read.frame for _, read in reads])
        frames[kind].index.name = ROW
        for reader, read in reads:
            skipped.update({f"{reader}: {reason}": count for reason, count in read.skipped.items()})
    return Tables(frames, dict(skipped))


def file_paths(data: DataConfig) -> list[Path]:
    """The files that the tables are read from, in order; none for the embedded world and the hub."""
    if not isinstance(data, FileData):
        return []
    return [_resolve(source) for kind in COLUMNS for source in getattr(data, kind)]


def file_digests(data: DataConfig) -> dict[str, str]:
    """SHA-256 of every file that the tables are read from, by position and name.

    Raises:
        InputError: if a file cannot be read.
    """
    digests = {}
    for place, path in enumerate(file_paths(data)):
        try:
            with path.open("rb") as file:
                digests[f"{place}:{path.name}"] = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); check the path and {DATA_FOLDER}") from None
    return digests


def _read(kind: Kind, source: FileSource | HubSource) -> Read:
    reader = READERS[source.reader]
    rows = read_json_lines(_resolve(source)) if isinstance(source, FileSource) else _hub_rows(source)
    return read_rows(kind, reader.convert, rows, source=_short_name(source))


def _short_name(source: FileSource | HubSource) -> str:
    """What rows and errors call a source; never an absolute path, so that digests are the same on every machine."""
    if isinstance(source, HubSource):
        return source.dataset
    return Path(source.path).name if Path(source.path).is_absolute() else source.path


def _resolve(source: FileSource) -> Path:
    path = Path(source.path)
    if path.is_absolute():
        return path
    folder = os.environ.get(DATA_FOLDER)
    if not folder:
        raise InputError(f"data.path {source.path} is relative to {DATA_FOLDER}, which is not set; export it first")
    return Path(folder) / path


def _hub_rows(source: HubSource) -> Iterator[tuple[int, dict[str, Any]]]:
    from datasets import load_dataset  # noqa: PLC0415 slow to import, and most data are not on the hub

    try:
        table = load_dataset(source.dataset, data_dir=source.data_dir, split=source.split, revision=source.revision)
    except (OSError, ValueError) as error:
        raise ReadError(f"{source.dataset}@{source.revision[:8]}: cannot be had from the hub ({error})") from None
    for number, row in enumerate(table, start=1):
        if source.max_rows is not None and number > source.max_rows:
            return
        yield number, row
