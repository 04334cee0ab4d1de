"""Snapshots of tables: immutable, content-addressed Parquet files, read by split."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_contracts.records import CONTRACT_VERSION, PROVENANCE, SPLIT
from rlhf_core.config import Frozen

Split = Literal["train", "judge", "test"]

SPLITS: tuple[Split, ...] = get_args(Split)

ROWS_PER_PART = 20_000

MEND = "delete it and ingest again"

_AS_JSON = json.JSONEncoder(ensure_ascii=False)  # made once: `json.dumps` makes one for each row


class Snapshot(Frozen):
    """A table as it was written.

    Attributes:
        name: which table, such as `preferences`.
        digest: SHA-256 over contract version, columns and rows, in no order, without their provenance.
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


class ContentDigest:
    """SHA-256 over what a table says: contract version, column names and rows, whatever their order and provenance."""

    def __init__(self, contract: str = CONTRACT_VERSION) -> None:
        self._contract = contract
        self._columns: list[str] = []
        self._rows: list[NDArray[np.bytes_]] = []

    def add(self, frame: pd.DataFrame) -> None:
        """Add rows of a table that meets its contract; 32 bytes of each are kept."""
        self._columns = sorted(set(frame.columns) - set(PROVENANCE))
        rows = zip(*(frame[name].tolist() for name in self._columns), strict=True)
        digests = [hashlib.sha256(_AS_JSON.encode(row).encode()).digest() for row in rows]
        self._rows.append(np.array(digests, dtype="S32"))

    def hexdigest(self) -> str:
        """64 hexadecimal digits, the same on every machine."""
        header = json.dumps([self._contract, self._columns]).encode()
        rows = np.sort(np.concatenate(self._rows)) if self._rows else np.empty(0, dtype="S32")
        return hashlib.sha256(header + rows.tobytes()).hexdigest()


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
        table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.path, table.schema)
        self._writer.write_table(table)
        self._digest.add(frame)
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
    content = ContentDigest(contract)
    for part in read_parts(path):
        content.add(part)
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
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:  # the buffer would hold the whole file
            for batch in file.iter_batches(batch_size=ROWS_PER_PART, columns=columns):
                yield batch.to_pandas()
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise SnapshotDamaged(f"{path} is not a readable Parquet file: {MEND}") from error
