"""The held-out rows that the figures of a stage rest on, kept as files, inputs of its run and tables of MLflow."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from mlflow.entities import Dataset, DatasetInput, InputTag

from flows.config.evidence import EvidenceConfig
from flows.registry.client import Registry
from flows.registry.names import EVIDENCE, HASHED, PROMPT_NUMBER
from flows.registry.runs import SHOWN_ROWS
from flows.storage.digests import digests_of


def write_evidence(tables: Mapping[str, pa.Table], config: EvidenceConfig, folder: Path) -> list[str]:
    """Write a Parquet file for each table; with `texts: hashed` texts are replaced by their digests.

    Returns:
        Paths of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, table in tables.items():
        path = folder / f"{name}.parquet"
        pq.write_table(_hashed(table) if config.texts == "hashed" else table, path)
        paths.append(str(path))
    return paths


def log_evidence(paths: list[str], stage: str, run_id: str, registry: Registry) -> dict[str, str]:
    """Keep the files with the run that measured them, each as an artifact, a dataset input and a table of MLflow.

    Returns:
        SHA-256 of each file by its name.
    """
    if not paths:
        return {}
    files = [Path(path) for path in paths]
    digests = {path.stem: digest for path in files for digest in digests_of(path.parent, [path]).values()}
    for path in files:
        registry.client.log_artifact(run_id, str(path), EVIDENCE)
    registry.log_inputs(run_id, [_input(path, f"{stage}-{path.stem}", digests[path.stem], run_id) for path in files])
    for path in files:
        registry.show_table(run_id, _shown(pq.read_table(path)), f"{EVIDENCE}/{path.stem}.json")
    return digests


NO_TEXTS = ("answered_by", "case", "source")
"""Columns of words of ours: who answered, what was done to an answer, and the file that a row comes from."""


def _hashed(table: pa.Table) -> pa.Table:
    """The table with SHA-256 in place of each text, and with the number of each prompt in the order of the texts."""
    if "prompt" in table.column_names:
        numbers = np.unique(np.array(table["prompt"].to_pylist()), return_inverse=True)[1]
        table = table.append_column(PROMPT_NUMBER, pa.array(numbers))
    for place, field in enumerate(table.schema):
        if pa.types.is_string(field.type) and field.name not in NO_TEXTS:
            digests = [None if text is None else _sha256(text) for text in table[field.name].to_pylist()]
            table = table.set_column(place, field.name, pa.array(digests, pa.string()))
    return table.replace_schema_metadata(HASHED)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _input(path: Path, name: str, digest: str, run_id: str) -> DatasetInput:
    dataset = Dataset(
        name=name,
        digest=digest[:36],
        source_type="mlflow_artifact",
        source=json.dumps({"uri": f"runs:/{run_id}/{EVIDENCE}/{path.name}"}),
        profile=json.dumps({"num_rows": pq.read_metadata(path).num_rows, "sha256": digest}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", EVIDENCE)])


def _shown(table: pa.Table) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = table.slice(0, SHOWN_ROWS).to_pydict()
    return columns
