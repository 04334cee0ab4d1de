"""Buckets of rows on disk by their key, so that rows with the same texts are read together."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from data_contracts.records import COLUMNS, Kind

BUCKET_BITS = 6

BATCH_ROWS = 20_000

KEY = "key"

_NUMBERS = {
    **dict.fromkeys(("votes_chosen", "votes_rejected", "votes_tied", "row"), pa.int64()),
    "grade": pa.float64(),
}

_LABELS = (
    ("is_label", pa.bool_()),
    ("keeps_ties", pa.bool_()),
    ("is_part", pa.bool_()),
    ("annotator", pa.large_string()),
    ("weights", pa.large_string()),
)


class Buckets:
    """Rows of one kind that met the row rules, on their way from the first pass to the second."""

    def __init__(self, kind: Kind, folder: Path) -> None:
        self.kind = kind
        self.folder = folder
        fields = [(name, _NUMBERS.get(name, pa.large_string())) for name in COLUMNS[kind]]
        self.schema = pa.schema([*fields, (KEY, pa.uint64()), ("prompt_key", pa.uint64()), *_LABELS])
        self._writers: dict[int, pa.RecordBatchFileWriter] = {}
        folder.mkdir(parents=True)

    def add(self, frame: pd.DataFrame) -> None:
        """Deal rows, in the columns of their kind with both keys, `annotator`, `weights` and all of `Read`."""
        order = np.argsort(frame[KEY].to_numpy(), kind="stable")
        rows = pa.Table.from_pandas(frame, schema=self.schema, preserve_index=False)
        rows = rows.take(order)
        buckets = rows.column(KEY).to_numpy() >> np.uint64(64 - BUCKET_BITS)
        starts = np.searchsorted(buckets, np.arange(2**BUCKET_BITS + 1))
        for bucket, (start, end) in enumerate(pairwise(starts)):
            if end > start:
                self._writer(bucket).write_table(rows.slice(start, end - start))

    def read(self) -> Iterator[pd.DataFrame]:
        """All rows in the order of their keys, those with one key in one frame; none can be added then."""
        for writer in self._writers.values():
            writer.close()
        tables: list[pa.Table] = []
        for bucket in sorted(self._writers):
            with pa.OSFile(str(self._path(bucket))) as file:
                tables.append(pa.ipc.open_file(file).read_all())
            self._path(bucket).unlink()
            if sum(map(len, tables)) >= BATCH_ROWS:
                yield self._ordered(tables)
                tables = []
        if tables:
            yield self._ordered(tables)

    def _ordered(self, tables: list[pa.Table]) -> pd.DataFrame:
        """Rows by key; those that share one by all they say, so that their order in the files does not matter."""
        frame = pa.concat_tables(tables).to_pandas()
        shared = frame[KEY].duplicated(keep=False)
        if shared.any():
            frame = pd.concat([frame[~shared], frame[shared].sort_values(list(COLUMNS[self.kind]))])
        ordered: pd.DataFrame = frame.iloc[np.argsort(frame[KEY].to_numpy(), kind="stable")].reset_index(drop=True)
        return ordered

    def _writer(self, bucket: int) -> pa.RecordBatchFileWriter:
        if bucket not in self._writers:
            self._writers[bucket] = pa.ipc.new_file(str(self._path(bucket)), self.schema)
        return self._writers[bucket]

    def _path(self, bucket: int) -> Path:
        return self.folder / f"{bucket:02d}.arrow"
