"""Rows of a run of the pipeline itself, kept as evidence of what it says beside its stages."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from flows.registry.context import RunContext
from flows.registry.references import ModelRef
from flows.stages.evidence import log_evidence, write_evidence
from flows.stages.row_origins import KeptTable, with_origins

LADDER = "ladder"
"""Begins the names under which MLflow lists the rows as inputs."""


def keep_rows(
    rows: Mapping[str, pa.Table],
    named: Callable[[str], str],
    data: Iterable[KeptTable],
    model: ModelRef,
    context: RunContext,
) -> dict[str, str]:
    """Keep rows with the run of the pipeline.

    Args:
        rows: tables by what their rows are, as `with_origins` knows them.
        named: what a table is called among the evidence of the run.
        data: tables that the rows were held out from.
        model: whose tokenizer counts.
        context: where the run is.

    Returns:
        SHA-256 of each file by its name.
    """
    registry = context.registry()
    described = with_origins(rows, data, registry.folder(model))
    tables = {named(name): table for name, table in described.items()}
    with TemporaryDirectory() as folder:
        files = write_evidence(tables, context.evidence, Path(folder))
        return log_evidence(files, LADDER, context.run_id, registry)
