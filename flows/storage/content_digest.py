"""Digests of what tables say: over whole columns, and over rows, as snapshots before 2026-12 have them."""

import hashlib
import json
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from data_contracts.records import CONTRACT_VERSION, PROVENANCE

_AS_JSON = json.JSONEncoder(ensure_ascii=False)  # made once: `json.dumps` makes one for each row


class TableDigest(Protocol):
    """A digest that grows with the parts of a table."""

    def add(self, part: pa.Table) -> None:
        """Add rows of a table that meets its contract."""

    def hexdigest(self) -> str:
        """64 hexadecimal digits, the same on every machine."""


class ContentDigest:
    """SHA-256 over what a table says: contract version, column names and cells in the order of the rows.

    Where rows come from is no part of it, nor how the table is divided into parts and columns are ordered.
    """

    def __init__(self, contract: str = CONTRACT_VERSION) -> None:
        self._contract = contract
        self._columns: dict[str, _ColumnDigest] = {}

    def add(self, part: pa.Table) -> None:
        """Add rows of a table that meets its contract; nothing of them is kept."""
        for name in sorted(set(part.column_names) - set(PROVENANCE)):
            column = self._columns.setdefault(name, _ColumnDigest())
            for chunk in part.column(name).chunks:
                column.add(chunk)

    def hexdigest(self) -> str:
        """64 hexadecimal digits, the same on every machine."""
        said = [[name, column.kind, column.hexdigest()] for name, column in self._columns.items()]
        return hashlib.sha256(json.dumps([self._contract, "columns", sorted(said)]).encode()).hexdigest()


class _ColumnDigest:
    """Digests of one column: of its bytes, of where each text in them ends, and of which cells are empty."""

    def __init__(self) -> None:
        self.kind = ""
        self._cells, self._lengths, self._gaps = (hashlib.sha256() for _ in range(3))
        self._rows = 0

    def add(self, cells: pa.Array) -> None:
        if cells.null_count:
            gaps = np.flatnonzero(pc.is_null(cells).to_numpy(zero_copy_only=False)) + self._rows
            self._gaps.update(gaps.astype("<i8").tobytes())
        self._rows += len(cells)
        kind = cells.type.value_type if pa.types.is_dictionary(cells.type) else cells.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            self.kind = "text"
            texts = cells.cast(pa.large_string())
            _, _, letters = texts.buffers()
            ends = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
            if letters is not None and len(texts):
                self._cells.update(memoryview(letters)[int(ends[0]) : int(ends[-1])])
            self._lengths.update(np.diff(ends).astype("<i8").tobytes())
        else:
            self.kind = "real" if pa.types.is_floating(kind) else "whole"
            held, written = (pa.float64(), "<f8") if self.kind == "real" else (pa.int64(), "<i8")
            numbers = pc.fill_null(cells.cast(held), 0).to_numpy(zero_copy_only=False)
            self._cells.update(numbers.astype(written).tobytes())

    def hexdigest(self) -> str:
        return "".join(part.hexdigest() for part in (self._cells, self._lengths, self._gaps))


class RowDigest:
    """SHA-256 over contract version, column names and rows, whatever the order and provenance of these."""

    def __init__(self, contract: str = CONTRACT_VERSION) -> None:
        self._contract = contract
        self._columns: list[str] = []
        self._rows: list[NDArray[np.bytes_]] = []

    def add(self, part: pa.Table) -> None:
        """Add rows of a table that meets its contract; 32 bytes of each are kept."""
        self._columns = sorted(set(part.column_names) - set(PROVENANCE))
        frame: pd.DataFrame = part.select(self._columns).to_pandas()
        rows = zip(*(frame[name].tolist() for name in self._columns), strict=True)
        digests: list[Any] = [hashlib.sha256(_AS_JSON.encode(row).encode()).digest() for row in rows]
        self._rows.append(np.array(digests, dtype="S32"))

    def hexdigest(self) -> str:
        """64 hexadecimal digits, the same on every machine."""
        header = json.dumps([self._contract, self._columns]).encode()
        rows = np.sort(np.concatenate(self._rows)) if self._rows else np.empty(0, dtype="S32")
        return hashlib.sha256(header + rows.tobytes()).hexdigest()
