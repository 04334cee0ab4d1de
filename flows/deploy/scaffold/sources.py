"""What the data files of a new project are taken for, and how much there is of them."""

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from data_contracts.conversation import read_conversation
from data_contracts.formats.convert import Batch, SourceRow
from data_contracts.formats.registry import fits, recognise
from data_contracts.records import TEXTS, Kind
from flows.config.data import FileSource
from flows.config.errors import InputError
from flows.data.converters import kinds_of
from flows.data.file_search import find_files
from flows.data.files import read_file
from flows.data.mapping.guess import guess_columns
from flows.data.plain_texts import first_of
from flows.data.rows_alone import ingested
from flows.data.sources import RICHNESS, convert_file

READ_ROWS = 20_000
"""Raw rows that are read of a source, to measure it."""

GUESS_ROWS = 1_000
"""Rows by which the meaning of columns is guessed."""

OWN_FORMAT = "ours"
"""What a format of the team's own is called."""


class DataSource(NamedTuple):
    """A source as the configuration will name it.

    Attributes:
        path: as a person named it.
        fields: columns of its first row.
        settings: `path`, `format` and what else a source has.
        frames: what its first rows give, by kind of data; empty where nothing says what they are.
        doubts: what to look at before it is used.
        votes: whether several people labelled a pair, in rows of their own.
    """

    path: Path
    fields: tuple[str, ...]
    settings: dict[str, Any]
    frames: dict[Kind, pd.DataFrame]
    doubts: tuple[str, ...] = ()
    votes: bool = False

    def gives(self, *kinds: Kind) -> bool:
        """Whether it gives any of these kinds."""
        return any(kind in self.frames for kind in kinds)


def read_source(path: Path, beginning: Path) -> DataSource:
    """Say what the files of a path are: a known format, else columns whose meaning is guessed.

    Args:
        path: file, folder or glob.
        beginning: the project's folder, from which a relative path will be read.

    Raises:
        InputError: if there is no data file, or one cannot be read.
    """
    rows = first_of(chain.from_iterable(read_file(file, file.name) for file in find_files(path)), READ_ROWS)
    if not rows:
        raise InputError(f"{path} holds no row: export it again")
    fields, place = tuple(map(str, rows[0].row)), {"path": from_folder(path, beginning)}
    for form, doubts in _formats(rows):
        settings = {**place, "format": form}
        source = FileSource.model_validate(settings)
        kinds = kinds_of(source.format, rows[0].row) if source.format else []
        batches = {kind: next(convert_file(kind, rows, source)) for kind in kinds}
        if frames := {kind: batch.frame for kind, batch in batches.items() if len(batch.frame)}:
            votes = source.repeats == "votes"
            doubts += tuple(_refusals(batches, votes=votes))
            return DataSource(path, fields, settings | ({"ties": "keep"} if votes else {}), frames, doubts, votes)
    return DataSource(path, fields, {**place, "format": OWN_FORMAT}, {})


def _refusals(batches: dict[Kind, Batch], *, votes: bool) -> Iterator[str]:
    """That ingestion would refuse the rows, which a person had better know before the first run."""
    kind = next(kind for kind in RICHNESS if kind in batches)
    table = ingested(kind, batches[kind], is_label=votes, keeps_ties=votes)
    if refused := table.quarantine.judge(table.counts.records):
        yield f"ingestion would refuse it, {refused.reasons[0]}; `rlhf data inspect` shows why"


def _formats(rows: Sequence[SourceRow]) -> Iterator[tuple[str | dict[str, Any], tuple[str, ...]]]:
    """What the `format` of some rows may be, the likeliest first, and what is doubtful about it."""
    guess = guess_columns([row.row for row in rows[:GUESS_ROWS]])
    name = recognise(rows[0].row)
    compared = "responses" in guess.format.get("columns", {})
    if name is not None and (fits(name, "preferences", rows[0].row) or not compared):
        yield name, tuple(filter(None, [guess.remark]))
    if guess.format:
        yield guess.format, guess.doubts


def from_folder(path: Path, folder: Path) -> str:
    """A path as it is written in a folder's configuration: absolute, or from that folder."""
    if path.is_absolute():
        return str(path)
    below = Path(os.path.relpath(path.absolute(), folder.absolute())).as_posix()
    return below if below.startswith("../") else f"./{below}"


def tables_of(sources: Sequence[DataSource]) -> dict[Kind, list[DataSource]]:
    """The sources of each table: those that give it and no pairs, else all that give pairs, whatever they are.

    Raises:
        InputError: if nothing gives pairs, and no format is to be written.
    """
    pairs = [source for source in sources if source.gives("preferences") or not source.frames]
    if not pairs:
        doubts = "".join(f"\n  {source.path}: {doubt}" for source in sources for doubt in source.doubts)
        raise InputError(
            f"--data {', '.join(str(source.path) for source in sources)}: holds no pairs of answers with a preference, "
            "of which a reward model is made; name a file of them too, or see what `rlhf data inspect` leaves unread"
            f"{doubts}"
        )
    written = [source for source in sources if source.gives("demonstrations") and not source.gives("preferences")]
    asked = [source for source in sources if tuple(source.frames) == ("prompts",)]
    return {"demonstrations": written or pairs, "preferences": pairs, "prompts": asked or pairs}


def to_be_written(sources: Iterable[DataSource]) -> list[Kind]:
    """What a format of the team's own must give of the rows that nothing is known of."""
    return ["preferences", "prompts"] if any(not source.frames for source in sources) else []


def texts_of(sources: Iterable[DataSource]) -> tuple[list[str], list[str]]:
    """What is said in prompts, and responses of any kind, of all sources."""
    prompts: list[str] = []
    responses: list[str] = []
    for kind, frame in _frames(sources):
        for column in TEXTS[kind]:
            cells = [cell for cell in frame[column] if isinstance(cell, str)]
            if column == "prompt":
                prompts += ["\n".join(turn["content"] for turn in read_conversation(cell)) for cell in cells]
            else:
                responses += cells
    return prompts, responses


def prompts_of(sources: Iterable[DataSource], kind: Kind) -> int:
    """Different prompts of a kind of data."""
    return len({str(prompt) for other, frame in _frames(sources) if other == kind for prompt in frame["prompt"]})


def _frames(sources: Iterable[DataSource]) -> Iterator[tuple[Kind, pd.DataFrame]]:
    return ((kind, frame) for source in sources for kind, frame in source.frames.items())
