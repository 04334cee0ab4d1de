"""Snapshots of tables: immutable, content-addressed Parquet files, read by split."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Literal, Protocol, get_args

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.records import CONTRACT_VERSION, SPLIT, TEXTS
from flows.storage.content_digest import ContentDigest, RowDigest, TableDigest
from rlhf_core.config import Frozen

Split = Literal["train", "judge", "test"]

SPLITS: tuple[Split, ...] = get_args(Split)

ROWS_PER_PART = 20_000

MEND = "delete it and ingest again"

_MARK = {b"rlhf.digest": b"columns"}
"""What says in a file that its digest is a `ContentDigest`; one without it has a `RowDigest`."""

_NO_DICTIONARY = {"group", *chain.from_iterable(TEXTS.values())}
"""Columns whose cells seldom repeat, so that no dictionary of them is worth its making."""


class Snapshot(Frozen):
    """A table as it was written.

    Attributes:
        name: which table, such as `preferences`.
        digest: SHA-256 over contract version, columns and rows, without their provenance.
        path: the Parquet file.
        rows: count of rows.
        split_rows: rows of each split.
    """

    name: str
    digest: str
    path: Path
    rows: int
    split_rows: dict[str, int]


class Reference(Protocol):
    """Whatever says where a snapshot lies and what its digest was."""

    @property
    def path(self) -> Path | str:
        """Where the snapshot lies."""

    @property
    def digest(self) -> str:
        """Digest that the snapshot had when it was written."""


class SnapshotDamaged(ValueError):
    """A snapshot whose content is not what its digest says."""


class SnapshotWriter:
    """Writes a table part by part to a temporary file, which gets the name of its digest when all is well.

    Attributes:
        path: the temporary file.
        split_rows: rows of each split so far.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._digest = ContentDigest()
        self._writer: pq.ParquetWriter | None = None
        self.split_rows: Counter[str] = Counter(dict.fromkeys(SPLITS, 0))

    def add(self, frame: pd.DataFrame) -> None:
        """Append rows of a table that meets its contract and has a split."""
        table = _as_written(pa.Table.from_pandas(frame, preserve_index=False))
        if self._writer is None:
            in_dictionaries = [name for name in table.column_names if name not in _NO_DICTIONARY]
            self._writer = pq.ParquetWriter(
                self.path,
                table.schema,
                use_dictionary=in_dictionaries,
                write_statistics=False,  # no digest is over them
            )
        self._writer.write_table(table)
        self._digest.add(table)
        self.split_rows.update(frame[SPLIT].tolist())

    def close(self) -> None:
        """Finish the temporary file."""
        if self._writer is not None:
            self._writer.close()

    @property
    def digest(self) -> str:
        """Digest of what was added."""
        return self._digest.hexdigest()

    def publish(self, name: str, directory: Path) -> Snapshot:
        """Read the file back, compare its digest and give it its name, in the place of one with the same content.

        Args:
            name: which table it is.
            directory: where snapshots are kept, on the file system of the temporary file; made if absent.

        Raises:
            SnapshotDamaged: if what was written is not what was given.
        """
        digest = self.digest
        path = directory / name / f"{digest}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
        verify(self.path, digest)
        self.path.chmod(0o444)
        self.path.replace(path)
        rows = dict(self.split_rows)
        return Snapshot(name=name, digest=digest, path=path, rows=sum(rows.values()), split_rows=rows)


def read_split(reference: Reference, split: str) -> pd.DataFrame:
    """Read one split of a snapshot, after checking that the whole still is what its digest says.

    Args:
        reference: a snapshot, or a reference to one.
        split: train, judge or test.

    Returns:
        The rows of the split in the order of the snapshot.

    Raises:
        FileNotFoundError: if there is no such file.
        SnapshotDamaged: if its content has another digest.
        ValueError: if there is no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"no split is called {split!r}; there are {', '.join(SPLITS)}")
    path = Path(reference.path)
    verify(path, reference.digest)
    return pd.concat([part[part[SPLIT] == split] for part in read_parts(path)], ignore_index=True)


def verify(path: Path, digest: str, contract: str = CONTRACT_VERSION) -> None:
    """Read a snapshot and compare its content with its digest, once for every state of its file.

    Args:
        path: the Parquet file.
        digest: its digest when it was written.
        contract: version of the contract that it met then.

    Raises:
        FileNotFoundError: if there is no such file.
        SnapshotDamaged: if it cannot be read, or its content has another digest.
    """
    state = path.stat()
    _verify(path, digest, contract, state.st_mtime_ns, state.st_size)


def is_intact(reference: Reference) -> bool:
    """Whether a snapshot is there and still is what its digest says."""
    try:
        verify(Path(reference.path), reference.digest)
    except (FileNotFoundError, SnapshotDamaged):
        return False
    return True


@cache
def _verify(path: Path, digest: str, contract: str, _modified_ns: int, _size: int) -> None:
    """`verify` one state of a file, which its time and size tell from others."""
    content: TableDigest = ContentDigest(contract) if _has_mark(path) else RowDigest(contract)
    for part in _batches(path, None):
        content.add(pa.Table.from_batches([part]))
    if content.hexdigest() != digest:
        raise SnapshotDamaged(f"{path} has the content digest {content.hexdigest()[:12]}, not {digest[:12]}: {MEND}")


def read_parts(path: Path, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
    """A snapshot part by part, of which one is held at a time.

    Args:
        path: the Parquet file.
        columns: what is read; all by default.

    Raises:
        FileNotFoundError: if there is no such file.
        SnapshotDamaged: if it cannot be read.
    """
    for batch in _batches(path, columns):
        yield batch.to_pandas()


def _batches(path: Path, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    with _reading(path), pq.ParquetFile(path, pre_buffer=False) as file:  # the buffer would hold the whole file
        yield from file.iter_batches(batch_size=ROWS_PER_PART, columns=columns)


def _has_mark(path: Path) -> bool:
    with _reading(path):
        return _MARK.items() <= (pq.read_schema(path).metadata or {}).items()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Tell what cannot be read as damage."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise SnapshotDamaged(f"{path} is not a readable Parquet file: {MEND}") from error


def _as_written(table: pa.Table) -> pa.Table:
    """A table with the types and the mark of a snapshot."""
    fields = [field.with_type(pa.large_string()) if pa.types.is_string(field.type) else field for field in table.schema]
    return table.cast(pa.schema(fields)).replace_schema_metadata(_MARK)
