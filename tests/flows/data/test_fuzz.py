"""Damaged and odd files of every format in every container: read, or refused in words, never by a traceback."""

import copy
import gzip
import io
import json
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from data_contracts.records import Kind
from flows.config.data import ContractConfig, FileData, FileSource, Shares
from flows.config.errors import InputError
from flows.data.inspection import inspect_path
from flows.data.sources import open_sources
from flows.data.step_timer import Clock
from flows.data.tables import make_tables
from tests.data_contracts.test_formats import GIVEN, assistant, user

Rows = list[dict[str, Any]]


def parquet(rows: Rows) -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


def lines(rows: Rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode("utf-8", "surrogatepass")


CONTAINERS: dict[str, Callable[[Rows], bytes]] = {
    "jsonl": lines,
    "json": lambda rows: json.dumps(rows).encode(),
    "jsonl.gz": lambda rows: gzip.compress(lines(rows), mtime=0),
    "jsonl.zst": lambda rows: bytes(pa.Codec("zstd").compress(lines(rows), asbytes=True)),
    "csv": lambda rows: pd.DataFrame(rows).to_csv(index=False).encode("utf-8", "surrogatepass"),
    "tsv": lambda rows: pd.DataFrame(rows).to_csv(index=False, sep="\t").encode("utf-8", "surrogatepass"),
    "parquet": parquet,
}

ODD = (
    *(None, True, -1, 10**30, -(2**63) - 1, 1e308, float("nan"), float("inf")),
    *(
        "",
        " ",
        "\0",
        "\ud800",
        "A",
        "nan",
        "[]",
        '[{"role": 1}]',
        '[{"role": "user", "content": null}]',
        "x" * 3000,
        "﻿",
        "\u2028\r",
    ),
    *("a\0b\x1b[2J", '[{"role": ' + "[" * 10**4, "1e400", 2**63, 1.5, "\r\n", '"', ",;\t"),
    *([], {}, [[]], [None], [{}], [{"role": "user"}], [{"role": ["user"], "content": 3}], {"a": {"b": [1]}}),
)
"""Values that somebody's file has held where another kind of value was meant."""


def places(value: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [above, *(place for key, item in inside for place in places(item, (*above, key)))]


def put(row: dict[str, Any], place: tuple[Any, ...], odd: Any) -> dict[str, Any]:
    changed = copy.deepcopy(row)
    inside: Any = changed
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = odd
    return changed


def written(container: str, rows: Rows) -> bytes:
    """A file with these rows; empty where none can hold them."""
    try:
        return CONTAINERS[container](rows)
    except (pa.ArrowException, UnicodeError, OverflowError):
        return b""


def look_through(content: bytes, container: str, kind: Kind) -> None:
    """Inspect and ingest up to the contract; whatever is wrong must be told as bad input."""
    with TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        path = Path(folder) / f"raw.{container}"
        path.write_bytes(content)
        with suppress(InputError):
            inspect_path(path, formats=(), rows=50)
        with suppress(InputError):
            data = FileData(**{"kind": "files", kind: (FileSource(path=str(path)),)})
            reads = open_sources(data, seed=0)
            tables = make_tables(reads, Shares(), ContractConfig(), folder=Path(folder) / "tables", clock=Clock())
            for table in tables.values():
                table.problems()


GENTLY = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True, database=None
)


FOUND: list[tuple[Kind, dict[str, Any]]] = [
    ("prompts", {"question_id": 1, "turns": [[[]], "And now?"]}),
    ("preferences", {"prompt": True, "chosen": [user("How?"), assistant("So.")], "rejected": [assistant("No.")]}),
    ("demonstrations", {"chosen": "\n\nHuman: How?\n\nAssistant: So.", "rejected": "", "": [{}]}),
    (
        "preferences",
        {
            "data": {"prompt": "How?", "answer1": "So.", "answer2": "No."},
            "annotations": [{"result": [{"type": "\ud800", "value": {"selected": None}}]}],
        },
    ),
    ("preferences", {"\ud800": "How is it, and why?", "chosen": "So it is.", "rejected": "No."}),
    ("prompts", {"prompt": "How?", "chosen": "So.", "rejected": "No.", "annotator": -(2**63) - 1}),
    ("preferences", {"prompt": "How?", "chosen": "So.", "rejected": "No.", "label": 1e308}),
    (
        "demonstrations",
        {
            "data": {"chat": [user("Hi")]},
            "annotations": [{"result": [{"type": "chatmessage", "from_name": "c", "value": "x"}]}],
        },
    ),
    ("preferences", {"instruction": "\ud800", "response1": "No.", "response2": "So.", "annotator1": 2, "input": ""}),
]
"""Rows that ended in a traceback once."""


@pytest.mark.parametrize(("kind", "row"), FOUND)
def test_what_was_found_is_told(kind: Kind, row: dict[str, Any]) -> None:
    look_through(written("json", [row] * 3), "json", kind)


@pytest.mark.parametrize("container", CONTAINERS)
@GENTLY
@given(data=st.data())
def test_a_value_that_nobody_meant_is_read_or_told(container: str, data: st.DataObject) -> None:
    _, kind, row, _ = data.draw(st.sampled_from(GIVEN))
    place = data.draw(st.sampled_from([place for place in places(row) if place]))
    rows = [row, put(row, place, data.draw(st.sampled_from(ODD))), row]
    look_through(written(container, rows), container, kind)


@pytest.mark.parametrize("container", CONTAINERS)
@GENTLY
@given(data=st.data())
def test_bytes_that_were_damaged_are_read_or_told(container: str, data: st.DataObject) -> None:
    _, kind, row, _ = data.draw(st.sampled_from([item for item in GIVEN if written(container, [item[2]])]))
    content = bytearray(written(container, [row] * 3))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, max(0, len(content) - 1)))
        end = start + data.draw(st.integers(0, 8))
        content[start:end] = data.draw(st.binary(max_size=8))
    look_through(bytes(content), container, kind)


@given(content=st.binary(max_size=64), container=st.sampled_from([*CONTAINERS, "arrow", "txt"]))
@example(content=b"", container="parquet")
@example(content=b"\xff\xfe", container="jsonl")
@settings(max_examples=120, deadline=None, derandomize=True, database=None)
def test_any_bytes_under_any_name_are_read_or_told(content: bytes, container: str) -> None:
    look_through(content, container, "preferences")
