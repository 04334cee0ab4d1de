"""A finished ladder that may be tampered with: a copy of its storage, its database and its files."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flows.registry.database import relocate
from flows.storage.digests import file_digests, total_digest

LEFT_BEHIND = shutil.ignore_patterns("prefect", "cache", "results", "work", "ingests")
"""Folders of a storage that no audit looks at."""

PROJECT = "tiny"

EARLIER = "earlier"
"""Beside the storage of a ladder: what that was before the last climb."""


class FinishedLadder:
    """A copy of a ladder.

    Args:
        home: folder with `storage`, and `witness` if there is one; it stays as it is.
        folder: where the copy is made.
    """

    def __init__(self, home: Path, folder: Path) -> None:
        shutil.copytree(home / "storage", folder / "storage", ignore=LEFT_BEHIND)
        if (home / "witness").is_dir():
            shutil.copytree(home / "witness", folder / "witness")
        self.home = home
        self.folder = folder
        self.storage = folder / "storage"
        self.artifacts = self.storage / "artifacts"
        self.log = self.artifacts / "statements" / PROJECT

    @property
    def witness(self) -> Path:
        """Folder of the witness."""
        return self.folder / "witness"

    def sql(self, statement: str, *values: Any) -> None:
        """Change the database; a change of nothing is none."""
        with closing(sqlite3.connect(self.storage / "mlflow.db")) as database, database:
            if not database.execute(statement, values).rowcount:
                raise AssertionError(f"{statement} changed nothing")

    def ask(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of the database."""
        with closing(sqlite3.connect(self.storage / "mlflow.db")) as database:
            return database.execute(statement, values).fetchall()

    def run_of(self, model: str, version: int = 1) -> str:
        """The run that made a version."""
        query = "SELECT run_id FROM model_versions WHERE name = ? AND version = ?"
        return str(self.ask(query, f"{PROJECT}-{model}", version)[0][0])

    def model_of(self, model: str, version: int = 1) -> str:
        """The logged model of a version."""
        query = "SELECT source FROM model_versions WHERE name = ? AND version = ?"
        return str(self.ask(query, f"{PROJECT}-{model}", version)[0][0]).removeprefix("models:/")

    def put_back(self) -> None:
        """Put the whole storage back to what it was before the last climb."""
        shutil.rmtree(self.storage)
        shutil.copytree(self.home / EARLIER, self.storage)
        relocate(self.storage / "mlflow.db")

    @property
    def climb(self) -> str:
        """The run of the first climb."""
        query = "SELECT run_uuid FROM runs WHERE name = 'ladder' ORDER BY start_time LIMIT 1"
        return str(self.ask(query)[0][0])

    def file(self, run_id: str, path: str) -> Path:
        """A file that a run keeps."""
        return self.artifacts / run_id / "artifacts" / path

    def files(self, model_id: str) -> Path:
        """The files of a logged model."""
        return self.artifacts / "models" / model_id / "artifacts"

    def snapshot(self, table: str) -> Path:
        """The kept snapshot of a table."""
        query = "SELECT run_uuid FROM tags WHERE key = 'dataset.name' AND value = ? LIMIT 1"
        [path] = (self.artifacts / self.ask(query, table)[0][0] / "artifacts").glob("*.parquet")
        return path

    def set_tag(self, model: str, key: str, value: str, version: int = 1) -> None:
        """Set a tag of a version."""
        change = "UPDATE model_version_tags SET value = ? WHERE key = ? AND name = ? AND version = ?"
        self.sql(change, value, key, f"{PROJECT}-{model}", version)

    def set_run_tag(self, run_id: str, key: str, value: str) -> None:
        """Set a tag of a run."""
        self.sql("UPDATE tags SET value = ? WHERE key = ? AND run_uuid = ?", value, key, run_id)

    def set_metric(self, run_id: str, key: str, value: float) -> None:
        """Set a metric that was logged once, wherever MLflow shows it."""
        self.sql("UPDATE latest_metrics SET value = ? WHERE key = ? AND run_uuid = ?", value, key, run_id)
        self.sql("UPDATE metrics SET value = ? WHERE key = ? AND run_uuid = ?", value, key, run_id)

    def change_json(self, path: Path, *places: str | int, to: Any) -> None:
        """Set a value in a JSON file."""
        document = json.loads(path.read_text(encoding="utf-8"))
        node = document
        for place in places[:-1]:
            node = node[place]
        node[places[-1]] = to
        path.write_text(json.dumps(document), encoding="utf-8")

    def change_rows(self, path: Path, table: pa.Table) -> None:
        """Write other rows into a Parquet file."""
        path.chmod(0o644)
        pq.write_table(table, path)

    def retell_weights(self, model: str, version: int = 1) -> str:
        """Change the weights of a version; gives the digest that its files have then."""
        folder = self.files(self.model_of(model, version))
        weights = folder / "model.safetensors"
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.chmod(0o644)
        weights.write_bytes(content)
        return total_digest(file_digests(folder))
