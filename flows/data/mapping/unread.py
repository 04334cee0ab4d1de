"""Columns that look like labels and that a format does not read: nobody should lose them without a word."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from data_contracts.formats.items import Convert, Misfit, RawRow
from flows.config.columns import label_text
from flows.data.mapping.columns_seen import SeenColumns
from flows.data.mapping.guess_verdict import labels_among
from flows.data.mapping.label_values import Reading

MOST_ROWS = 1000


class _Watched(RawRow):
    """A row that notes which of its fields are read."""

    def __init__(self, row: RawRow, read: set[str]) -> None:
        super().__init__(row)
        self._read = read

    def __getitem__(self, name: str) -> Any:
        self._read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self._read.add(name)
        return super().get(name, default)

    def __iter__(self) -> Iterator[str]:
        """The names alone; a copy of the row is then made of fields that are read one by one."""
        return super().__iter__()

    def items(self) -> Any:
        """All fields; who takes them all reads them all."""
        self._read.update(self)
        return super().items()


def unread_columns(rows: Sequence[RawRow], *converts: Convert) -> SeenColumns:
    """The columns that none of some functions reads, in the first rows of a file."""
    read: set[str] = set()
    for row in rows[:MOST_ROWS]:
        for convert in converts:
            with suppress(Misfit):
                list(convert(_Watched(row, read)))
    return SeenColumns([{name: cell for name, cell in row.items() if name not in read} for row in rows[:MOST_ROWS]])


def unread_labels(rows: Sequence[RawRow], convert: Convert) -> dict[str, bool]:
    """The unread columns that look like labels, and whether each surely prefers now one response, now the other."""
    unread = unread_columns(rows, convert)
    return {name: _prefers_both(unread, name, reading) for name, reading in labels_among(unread, ()).items()}


def _prefers_both(unread: SeenColumns, name: str, reading: Reading) -> bool:
    said = {reading.labels[text].says for text in map(label_text, unread.labels(name)) if text in reading.labels}
    return not reading.doubt and {"first", "second"} <= said
