"""Reader of comma, semicolon and tab separated text, in which every row has as many cells as the header."""

import csv
import re
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple, TextIO

from data_contracts.formats.items import RawRow
from flows.config.errors import InputError
from flows.data.file_search import unpacked
from flows.data.text_files import bounded_lines, refuse_other_encodings

LONGEST_CELL = 10_000_000
"""Characters of one cell; a longer one is a lost quotation mark."""

NAMELESS = re.compile(r"(Unnamed: \d+(_level_\d+)?|__index_level_\d+__)?")
"""Names of columns that nobody named, as pandas writes an index and reads it back."""

_SEPARATORS = ",;\t|"
"""What may stand between cells; where a header holds as many of two, the first is meant, and of `.tsv` the tab."""

_QUOTED = re.compile(r'"[^"]*"')

_NAMED_SEPARATOR = re.compile(r'"?sep=([,;|\t])"?\s*', re.IGNORECASE)
"""The line before the header by which spreadsheets say what separates cells."""


class Delimited(NamedTuple):
    """A text of which the header is read.

    Attributes:
        header: names of the columns, "" for one without.
        rows: the cells of each line that follows, each with the number of its last line in the file.
        separator: what stands between cells.
        line: the number of the header's last line.
    """

    header: list[str]
    rows: Iterator[tuple[int, list[str]]]
    separator: str
    line: int


def read_delimited(text: TextIO, name: str) -> Iterator[tuple[int, RawRow]]:
    """Every row with its number, from 1 after the header; lines without anything are no rows, and every cell is text.

    Args:
        text: opened with its line breaks as they are.
        name: what errors call it.

    Raises:
        InputError: naming a row that has more or fewer cells than the header, or what else is wrong.
    """
    header, rows, separator, line = open_delimited(text, name)
    number = 0
    try:
        for line, cells in rows:
            if not cells:
                continue
            number += 1
            if len(cells) != len(header):
                raise InputError(
                    f"{name} row {number} (line {line}): has {len(cells)} cells, and the header has {len(header)}: "
                    f"quote a text that holds {separator!r} or a line break, and write empty cells where nothing stands"
                )
            if not all(map(str.isascii, cells)):
                for field, cell in zip(header, cells, strict=True):
                    refuse_other_encodings(cell, f"{name} row {number}, field {field}")
            if cells[-1].strip() == header[-1] and [cell.strip("\ufeff \t") for cell in cells] == header:
                raise InputError(f"{name} row {number} (line {line}): is the header again: remove it")
            row: RawRow = dict(zip(header, cells, strict=True))
            row.pop("", None)
            yield number, row
    except csv.Error as error:
        raise InputError(
            f"{name} row {number + 1} (from line {line + 1}): is not CSV ({error}): mend its quotation marks; inside a "
            "quoted text each is written twice"
        ) from None


def open_delimited(text: TextIO, name: str) -> Delimited:
    """Read the header of a text.

    Raises:
        InputError: if two columns have the same name, or none has any.
    """
    csv.field_size_limit(LONGEST_CELL)
    lines = bounded_lines(text, f"{name} line")
    before, first = next(((index, line) for index, line in enumerate(lines) if line.strip()), (0, ""))
    named = _NAMED_SEPARATOR.fullmatch(first)
    if named:
        before, first = before + 1, next(lines, "")
    separator = named[1] if named else _separator(first, name)
    spaced = f"{separator} " in first
    reader = csv.reader(chain([first], lines), delimiter=separator, strict=True, skipinitialspace=spaced)
    try:
        cells = [cell.strip() for cell in next(reader, [])]
    except csv.Error as error:
        raise InputError(f"{name}, header: is not CSV ({error}): mend its quotation marks") from None
    refuse_other_encodings(separator.join(cells), f"{name}, header")
    header = ["" if NAMELESS.fullmatch(cell) else cell for cell in cells]
    names = [cell for cell in header if cell]
    refuse_repeated(names, name)
    if cells and not names:
        raise InputError(f"{name}: no column has a name: let the first line be a header, as prompt,chosen,rejected")
    rows = ((before + reader.line_num, row) for row in reader)
    return Delimited(header, rows, separator, before + reader.line_num)


def refuse_repeated(columns: list[str], name: str) -> None:
    """Refuse a table of which two columns have the same name.

    Raises:
        InputError: naming them.
    """
    if len(set(columns)) < len(columns):
        twice = ", ".join(column for column in dict.fromkeys(columns) if columns.count(column) > 1)
        raise InputError(f"{name}: two columns have the same name, {twice}: rename one")


def _separator(header: str, name: str) -> str:
    bare = _QUOTED.sub("", header)
    if "\t" in bare and unpacked(name).endswith(".tsv"):
        return "\t"
    return max(_SEPARATORS, key=bare.count)
