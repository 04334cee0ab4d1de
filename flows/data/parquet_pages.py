"""What the pages of a Parquet file unpack to, by their headers, before any of them is unpacked.

Footers say how large a column is, and not how large its largest page is, or how often its dictionary is repeated. Each
page begins with a header in Thrift's compact protocol: https://parquet.apache.org/docs/file-format/data-pages.
"""

from typing import Any, BinaryIO, NamedTuple

import pyarrow.parquet as pq

_DICTIONARY_PAGE = 2

_SIZE, _PACKED = 2, 3
"""Fields of a header: bytes of the page when unpacked, and in the file."""

_DATA, _DICTIONARY, _DATA_2 = 5, 7, 8
"""Fields of a header that hold what only one kind of page has; the first field of each is the number of values."""

_ENCODINGS = ((_DATA, 2), (_DATA_2, 4))

_BY_DICTIONARY = (2, 8)
"""Encodings of pages that hold numbers of words of the dictionary."""

MOST_HEADER_BYTES = 2**24


class Pages(NamedTuple):
    """The pages of a column in a group of rows.

    Attributes:
        largest: bytes of the largest page of values, unpacked.
        dictionary: bytes of the dictionary, unpacked; no value that it stands for is longer.
        words: how many values stand for a word of the dictionary.
    """

    largest: int
    dictionary: int
    words: int


def read_pages(file: BinaryIO, column: pq.ColumnChunkMetaData) -> Pages:
    """Read the headers of a column's pages, and nothing else of them.

    Args:
        file: the Parquet file.
        column: of a group of rows.

    Raises:
        EOFError: if something else stands where a header should.
    """
    place = min(filter(None, (column.dictionary_page_offset, column.data_page_offset)), default=0)
    end = place + column.total_compressed_size
    largest = dictionary = words = 0
    while place < end:
        file.seek(place)
        header = _header(file, place + MOST_HEADER_BYTES)
        size, packed = header[_SIZE], header[_PACKED]
        if header.get(1) == _DICTIONARY_PAGE:
            dictionary = max(dictionary, size)
        else:
            largest = max(largest, size)
            words += _words(header)
        place = file.tell() + packed
    return Pages(largest, dictionary, words)


def _header(file: BinaryIO, end: int) -> dict[int, Any]:
    try:
        header = _struct(file, end)
    except RecursionError:
        raise _damaged() from None
    if not all(isinstance(header.get(field), int) and header[field] >= 0 for field in (_SIZE, _PACKED)):
        raise _damaged()
    return header


def _words(header: dict[int, Any]) -> int:
    """How many values of a page stand for words of the dictionary."""
    for kind, encoding in _ENCODINGS:
        about = header.get(kind)
        if isinstance(about, dict) and about.get(encoding) in _BY_DICTIONARY:
            return int(about.get(1, 0))
    return 0


def _struct(file: BinaryIO, end: int) -> dict[int, Any]:
    """Fields of a struct by their numbers; texts are passed over."""
    fields: dict[int, Any] = {}
    number = 0
    while kind := (head := _byte(file)) & 15:
        number = number + (head >> 4) if head >> 4 else _signed(file)
        fields[number] = _value(file, kind, end)
        if file.tell() > end:
            raise _damaged()
    return fields


def _value(file: BinaryIO, kind: int, end: int) -> Any:
    match kind:
        case 1 | 2:
            return kind == 1
        case 3:
            return _byte(file)
        case 4 | 5 | 6:
            return _signed(file)
        case 7 | 8:
            length = 8 if kind == 7 else _unsigned(file)
            file.seek(min(length, end), 1)
            return None
        case 12:
            return _struct(file, end)
    raise _damaged()


def _signed(file: BinaryIO) -> int:
    number = _unsigned(file)
    return (number >> 1) ^ -(number & 1)


def _unsigned(file: BinaryIO) -> int:
    number = 0
    for shift in range(0, 64, 7):
        byte = _byte(file)
        number |= (byte & 127) << shift
        if byte < 128:
            return number
    raise _damaged()


def _byte(file: BinaryIO) -> int:
    byte = file.read(1)
    if not byte:
        raise _damaged()
    return byte[0]


def _damaged() -> EOFError:
    return EOFError("where the header of a page should stand is something else")
