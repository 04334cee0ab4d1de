"""From a raw file to numbered rows, with errors that name file and row and never show the row."""

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from data_contracts.records import COLUMNS, Kind
from data_contracts.validation import ROW

RawRow = dict[str, Any]


class ReadError(ValueError):
    """A raw file that cannot be read; the message names file, row and mend."""


class Skip(Exception):
    """Raised by a reader for a row that it leaves out; the message is the reason, without the row's text."""


class WrongField(Exception):
    """Raised by a reader for a row whose format is not its own; `field` says where, `wanted` what should be there."""

    def __init__(self, field: str, wanted: str) -> None:
        super().__init__(field, wanted)
        self.field = field
        self.wanted = wanted


class Read(NamedTuple):
    """Records of one kind.

    Attributes:
        frame: the columns of the contract; the index `row` holds the row numbers of the source.
        skipped: rows left out, by reason.
    """

    frame: pd.DataFrame
    skipped: dict[str, int]


def read_json_lines(path: Path) -> Iterator[tuple[int, RawRow]]:
    """Rows of a JSON Lines file, gzipped if its name ends in `.gz`, numbered from 1.

    Args:
        path: the file.

    Yields:
        Row number and object.

    Raises:
        ReadError: if the file is missing, damaged or holds something else.
    """
    number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ReadError(f"{path} row {number}: is not a JSON object: write one object per line")
                yield number, row
    except FileNotFoundError:
        raise ReadError(f"{path} does not exist: check the path, and RLHF_DATA if it is relative") from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise ReadError(f"{path} is damaged after row {number}: fetch it again") from None
    except json.JSONDecodeError as error:
        raise ReadError(
            f"{path} row {number}: is not JSON ({error.msg} at character {error.pos}): mend the row"
        ) from None
    except UnicodeDecodeError:
        raise ReadError(f"{path} after row {number}: is not UTF-8: convert the file") from None


def read_rows(
    kind: Kind, convert: Callable[[RawRow], list[RawRow]], rows: Iterable[tuple[int, RawRow]], *, source: str
) -> Read:
    """Turn raw rows into records.

    Args:
        kind: what the reader makes.
        convert: from a raw row to records without `source`.
        rows: numbered raw rows.
        source: where they come from, as errors and violations shall name it.

    Returns:
        The records and what was left out.

    Raises:
        ReadError: if a row lacks a field of the format.
    """
    records: list[RawRow] = []
    numbers: list[int] = []
    skipped: Counter[str] = Counter()
    for number, row in rows:
        try:
            made = convert(row)
        except Skip as reason:
            skipped[str(reason)] += 1
            continue
        except WrongField as wrong:
            raise ReadError(
                f"{source} row {number}, field {wrong.field}: is not {wrong.wanted}: "
                "mend the row, or choose the reader of this format"
            ) from None
        records += [{**record, "source": source} for record in made]
        numbers += [number] * len(made)
    index = pd.Index(numbers, name=ROW)
    # Object columns hold any cell, such as a lone surrogate: it is for the contract to refuse it by row.
    frame = pd.DataFrame(records, columns=list(COLUMNS[kind]), index=index, dtype=object)
    return Read(frame, dict(skipped))


def text_of(row: RawRow, field: str) -> str:
    """The text in a field.

    Raises:
        WrongField: if it is missing or something else.
    """
    value = row.get(field)
    if not isinstance(value, str):
        raise WrongField(field, "text")
    return value


def objects_of(row: RawRow, field: str) -> list[RawRow]:
    """The objects listed in a field.

    Raises:
        WrongField: if it is missing or something else.
    """
    value = row.get(field)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise WrongField(field, "a list of objects")
    return value
