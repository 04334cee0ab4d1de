"""Whether MLflow shows what was recorded: metrics, and tables of rows on its page of evaluations."""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd
import pyarrow as pa

from flows.lineage.archive import Archive
from flows.lineage.finding import AuditFinding
from flows.registry.names import EVIDENCE
from flows.registry.runs import FINAL, SHOWN_ROWS, final_metrics
from rlhf_core.metrics.estimates import Estimate


def close(one: float, other: float) -> bool:
    """Whether numbers are one; products in another order, on another machine, may differ a little."""
    return math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)


def shown_metrics(
    archive: Archive, label: str, run_id: str, recorded: Mapping[str, Estimate], model_id: str | None = None
) -> Iterator[AuditFinding]:
    """Whether MLflow shows the recorded figures, on the page of the run, in its curves and on that of its model."""
    expected = final_metrics(recorded)
    places: dict[str, list[str]] = {}
    for where, shown in archive.metrics(run_id, FINAL, model_id).items():
        for name in _unlike(expected, shown):
            places.setdefault(name, []).append(f"{where} in MLflow shows {_listed(shown.get(name))}")
    for name, said in sorted(places.items()):
        known = f"{expected[name]:.6g}" if name in expected else "nothing"
        yield AuditFinding(label, f"metric {name}", "differs", f"run {run_id}: recorded {known}, {', '.join(said)}")
    if not places:
        yield AuditFinding(label, "metrics", "holds", f"MLflow shows {len(expected)} numbers as they were recorded")


def shown_tables(archive: Archive, label: str, run_id: str, tables: Mapping[str, pa.Table]) -> Iterator[AuditFinding]:
    """Whether the tables on MLflow's page of evaluations are the first rows of the files."""
    rows, wrong = 0, 0
    for name, table in tables.items():
        path = f"{EVIDENCE}/{name}.json"
        document, expected = archive.document(run_id, path), table_as_shown(table)
        rows += len(expected["data"])
        if document is None:
            wrong += 1
            yield AuditFinding(label, f"table {name}", "missing", f"{path} of run {run_id} is gone or unreadable")
        elif other := difference(expected, document):
            wrong += 1
            yield AuditFinding(label, f"table {name}", "differs", f"run {run_id}: {other}")
    if rows and not wrong:
        yield AuditFinding(label, "tables", "holds", f"MLflow shows {rows} rows of {len(tables)} files as they are")


def table_as_shown(table: pa.Table) -> dict[str, Any]:
    """The first rows of a table as the JSON that MLflow's `log_table` writes: `columns` and `data`."""
    frame = pd.DataFrame(table.slice(0, SHOWN_ROWS).to_pydict())
    shown: dict[str, Any] = json.loads(frame.to_json(orient="split", index=False, date_format="iso"))
    return shown


def difference(expected: Mapping[str, Any], document: Any) -> str:
    """Where a table that is shown is another, both as `table_as_shown` has them; empty where it is not."""
    try:
        columns, data = list(document["columns"]), list(document["data"])
    except (KeyError, TypeError):
        return "MLflow shows what is no table"
    if columns != expected["columns"] or len(data) != len(expected["data"]):
        return (
            f"MLflow shows {len(data)} rows of {columns}, the file has {len(expected['data'])} of {expected['columns']}"
        )
    for number, (shown, row) in enumerate(zip(data, expected["data"], strict=True), start=1):
        cells = shown if isinstance(shown, list) and len(shown) == len(row) else [None] * len(row)
        for name, cell, kept in zip(columns, cells, row, strict=True):
            if not _alike(cell, kept):
                return f"row {number} of {name}: MLflow shows {cell}, the file has {kept}"
    return ""


def _alike(shown: Any, kept: Any) -> bool:
    if isinstance(shown, list) and isinstance(kept, list):
        return len(shown) == len(kept) and all(map(_alike, shown, kept))
    numbers = [isinstance(value, int | float) and not isinstance(value, bool) for value in (shown, kept)]
    return close(shown, kept) if all(numbers) else bool(shown == kept)


def _unlike(expected: Mapping[str, float], shown: Mapping[str, list[float]]) -> list[str]:
    return sorted(
        name
        for name in {*expected, *shown}
        if name not in expected or not shown.get(name) or not all(close(expected[name], it) for it in shown[name])
    )


def _listed(values: list[float] | None) -> str:
    return "nothing" if not values else ", ".join(f"{value:.6g}" for value in dict.fromkeys(values))
