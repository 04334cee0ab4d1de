"""Divide tables by group and keep them as immutable, content-addressed Parquet snapshots."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import Field, model_validator

from data_contracts.records import CONTRACT_VERSION, SPLIT
from rlhf_core.config import Frozen

Split = Literal["train", "judge", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


class Shares(Frozen):
    """How groups are divided; the rest is for training.

    A group lies at the same place of the hash in every table, so that one held out of a table is held out of all.
    """

    test: float = Field(default=0.15, gt=0.0, lt=1.0)
    """Share of the groups that nothing is trained on: every figure comes from them."""
    judge: float = Field(default=0.2, gt=0.0, lt=1.0)
    """Share of the groups whose preferences train the judge alone; their prompts and demonstrations train as any."""

    @model_validator(mode="after")
    def _leaves_training_rows(self) -> "Shares":
        if self.test + self.judge >= 1.0:
            raise ValueError("test and judge shares leave nothing to train on: let them sum to less than 1")
        return self


class Snapshot(Frozen):
    """A table as it was written.

    Attributes:
        name: which table, such as `preferences`.
        digest: SHA-256 over contract version, columns and rows, in no order.
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


class EmptySplit(ValueError):
    """A table with too few groups to be divided."""


class SnapshotDamaged(ValueError):
    """A snapshot whose content is not what its digest says."""


def split_by_group(frame: pd.DataFrame, shares: Shares, *, judge: bool) -> pd.DataFrame:
    """Assign each row to a split by the hash of its group.

    A group's split depends on its text and the shares alone: adding rows never moves a row to another split.

    Args:
        frame: rows with a `group` of text.
        shares: how much each split gets, on average over groups.
        judge: whether the judge gets rows of this table, which preferences do.

    Returns:
        A copy with the column `split`.

    Raises:
        EmptySplit: if a split has no row.
    """
    edges = np.cumsum([shares.test, shares.judge if judge else 0.0])
    order: tuple[Split, ...] = ("test", "judge", "train")
    assigned = {
        group: order[int(np.searchsorted(edges, _place(group), side="right"))] for group in frame["group"].unique()
    }
    divided = frame.assign(**{SPLIT: frame["group"].map(assigned)})
    wanted = [name for name in order if judge or name != "judge"]
    empty = [name for name in wanted if not (divided[SPLIT] == name).any()]
    if empty:
        raise EmptySplit(
            f"the splits {', '.join(empty)} have no row: {len(assigned)} groups are too few for the shares; "
            "add rows or raise the shares"
        )
    return divided


def _place(group: str) -> float:
    """A place in [0, 1) that only the group's text decides."""
    return int.from_bytes(hashlib.sha256(f"split\0{group}".encode()).digest()[:7]) / 2**56


def content_digest(frame: pd.DataFrame) -> str:
    """SHA-256 over what a table says: contract version, column names and rows, whatever their order.

    Args:
        frame: a table that meets its contract.

    Returns:
        64 hexadecimal digits, the same on every machine.
    """
    return _digest_of(frame, _row_digests(frame))


def write_snapshot(frame: pd.DataFrame, *, name: str, directory: Path) -> Snapshot:
    """Write a table once under its digest; a second call with the same content writes nothing.

    Rows are written in the order of their digests, so that training does not depend on the order of the input. The
    file is read back and verified before it gets its name: whatever has that name is complete.

    Args:
        frame: a table that meets its contract and has a split.
        name: which table it is.
        directory: where snapshots are kept; made if absent.

    Returns:
        What was written, or found.

    Raises:
        SnapshotDamaged: if the file differs from the table.
    """
    row_digests = _row_digests(frame)
    digest = _digest_of(frame, row_digests)
    path = directory / name / f"{digest}.parquet"
    if path.exists():
        read_verified(path, digest)
    else:
        order = sorted(range(len(frame)), key=row_digests.__getitem__)
        _write_atomically(frame.iloc[order], path, digest)
    split_rows = {str(split): int((frame[SPLIT] == split).sum()) for split in SPLITS}
    return Snapshot(name=name, digest=digest, path=path, rows=len(frame), split_rows=split_rows)


def write_report(report: Mapping[str, Any], snapshot: Snapshot) -> Path:
    """Keep what the suite saw beside the snapshot that it is about.

    Args:
        report: the result of Great Expectations.
        snapshot: the table.

    Returns:
        The file, `<digest>.suite.json`.
    """
    path = snapshot.path.with_suffix(".suite.json")
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(report, indent=2), encoding="utf-8")
    temporary.replace(path)
    return path


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
    frame = read_verified(Path(reference.path), reference.digest)
    return frame[frame[SPLIT] == split].reset_index(drop=True)


def read_verified(path: Path, digest: str) -> pd.DataFrame:
    """Read a snapshot and compare its content with its digest.

    Args:
        path: the Parquet file.
        digest: its digest when it was written.

    Returns:
        The table.

    Raises:
        FileNotFoundError: if there is no such file.
        SnapshotDamaged: if it cannot be read, or its content has another digest.
    """
    mend = "delete it and ingest again"
    try:
        frame = pd.read_parquet(path)
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise SnapshotDamaged(f"{path} is not a readable Parquet file: {mend}") from error
    found = content_digest(frame)
    if found != digest:
        raise SnapshotDamaged(f"{path} has the content digest {found[:12]}, not {digest[:12]}: {mend}")
    return frame


def _write_atomically(frame: pd.DataFrame, path: Path, digest: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{digest[:12]}-", suffix=".tmp")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            frame.to_parquet(file, index=False)
            file.flush()
            os.fsync(file.fileno())
        read_verified(temporary, digest)
        temporary.chmod(0o444)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _row_digests(frame: pd.DataFrame) -> list[bytes]:
    """SHA-256 of each row as JSON, columns sorted; whole floats count as integers, as storage may mix the two."""
    columns = sorted(frame.columns)
    rows = zip(*(frame[name].tolist() for name in columns), strict=True)
    return [hashlib.sha256(json.dumps([_plain(cell) for cell in row]).encode()).digest() for row in rows]


def _plain(cell: object) -> object:
    return int(cell) if isinstance(cell, float) and cell.is_integer() else cell


def _digest_of(frame: pd.DataFrame, row_digests: list[bytes]) -> str:
    header = json.dumps([CONTRACT_VERSION, sorted(frame.columns)]).encode()
    return hashlib.sha256(header + b"".join(sorted(row_digests))).hexdigest()
