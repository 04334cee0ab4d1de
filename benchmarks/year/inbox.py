"""The folder that files of new data land in, as a vendor or a labelling tool would write them."""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.year.world import Delivery

TABLES = {"demonstrations": "demonstrations", "pairs": "preferences", "prompts": "prompts"}
"""Folder of a table of a delivery, and the field of the configuration that reads it."""


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a file of comma-separated values with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def put(path: Path, content: bytes) -> None:
    """Let a file land, whole; one that is there already stays as it is."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(content)
        os.replace(part, path)


def land(folder: Path, delivery: Delivery) -> list[Path]:
    """Write the tables of a delivery that have rows.

    Args:
        folder: the inbox.
        delivery: what lands.

    Returns:
        The files.
    """
    paths = []
    for table in TABLES:
        if rows := getattr(delivery, table):
            path = folder / table / f"{delivery.name}.csv"
            put(path, as_csv(rows).encode())
            paths.append(path)
    return paths


def batches_in(folder: Path) -> dict[str, list[str]]:
    """The batches that lie in each table's folder now."""
    return {table: sorted(path.stem for path in (folder / table).glob("*.csv")) for table in TABLES}


def take_out(folder: Path, table: str, batch: str) -> None:
    """Move the file of a batch out of the inbox, where nothing reads it."""
    source, aside = folder / table / f"{batch}.csv", folder.with_name("set-aside") / table
    if source.exists():
        aside.mkdir(parents=True, exist_ok=True)
        os.replace(source, aside / source.name)
