"""Text files as tools write them: packed or not, in UTF-8 or UTF-16, with or without a byte order mark."""

import codecs
import gzip
import io
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import BinaryIO, TextIO, cast

import pyarrow as pa

from flows.config.errors import InputError

HEAD_BYTES = 512

LONGEST_LINE = 10_000_000
"""Characters of one line; a longer one is a lost line break, or was packed to harm."""

PACKINGS = {".gz": (b"\x1f\x8b", "gzipped"), ".zst": (b"\x28\xb5\x2f\xfd", "packed by Zstandard")}
"""Endings of packed text, the bytes that it begins with, and what it is then."""

UTF_8 = "utf-8-sig"
"""The codec of UTF-8 with or without a byte order mark."""

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

_CONVERT = (
    "convert the file to UTF-8: a spreadsheet saves it as “CSV UTF-8”; or by `iconv -f CP1252 -t UTF-8`, if it is from "
    "Windows in western Europe, elsewhere with another name in place of CP1252, such as GB18030 for Chinese"
)


def head_of(path: Path) -> bytes:
    """The first bytes of a file, unpacked where its name says that it is packed."""
    with open_bytes(path) as file:
        return file.read(HEAD_BYTES)


def open_text(path: Path, *, newline: str | None = None) -> TextIO:
    """Open a text, its byte order mark skipped.

    Args:
        path: packed where its ending is one of `PACKINGS`.
        newline: None for line breaks of any kind that become one, "" for those that stay as they are.

    Returns:
        Text in which a byte that is not UTF-8 is a lone surrogate, for `refuse_other_encodings` to name with its place.
    """
    encoding = encoding_of(head_of(path))
    return io.TextIOWrapper(open_bytes(path), encoding=encoding, errors="surrogateescape", newline=newline)


def bounded_lines(text: TextIO, place: str, first: int = 1) -> Iterator[str]:
    """The lines of a text, of which no more than the longest sensible one is ever held.

    Args:
        text: opened by `open_text`.
        place: what errors call a line, before its number.
        first: number of the first line.

    Raises:
        InputError: naming a line that is longer, or where as much is blank.
    """
    blank = 0
    for number in count(first):
        line = text.readline(LONGEST_LINE + 1)
        if len(line) > LONGEST_LINE:
            raise InputError(
                f"{place} {number}: has more than {LONGEST_LINE / 1e6:.0f} MB, which no sensible row has: look for a "
                "lost line break, or shorten it"
            )
        if not line:
            return
        blank = blank + len(line) if line.isspace() else 0
        if blank > LONGEST_LINE:
            raise refused_blanks(f"{place} {number}")
        yield line


def refused_blanks(place: str) -> InputError:
    """What is said of a place up to which there is nothing for longer than any sensible text has."""
    return InputError(
        f"{place}: ends more than {LONGEST_LINE / 1e6:.0f} MB of white space and line breaks, in which nothing stands: "
        "remove them"
    )


def encoding_of(head: bytes) -> str:
    """The encoding that a byte order mark names, else UTF-8."""
    return next((encoding for mark, encoding in _MARKS if head.startswith(mark)), UTF_8)


def refuse_other_encodings(text: str, where: str) -> None:
    """Refuse a text in which a byte is not UTF-8.

    Raises:
        InputError: naming the byte.
    """
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        byte = len(text[: error.start].encode()) + 1
        raise InputError(f"{where}: is not UTF-8 at byte {byte}: {_CONVERT}") from None


def open_bytes(path: Path) -> BinaryIO:
    """Open a file, unpacked where its name says that it is packed."""
    if path.suffix == ".gz":
        return cast(BinaryIO, gzip.open(path))
    if path.suffix == ".zst":
        return cast(BinaryIO, pa.input_stream(str(path), compression="zstd"))
    return path.open("rb")
