"""A row whose answer is empty, in every format that gives answers: it is set aside by its rule, and never used."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from data_contracts.formats.registry import FORMATS
from data_contracts.records import Kind
from flows.config.data import ContractConfig, FileData, FileSource, Shares
from flows.data.sources import open_sources
from flows.data.step_timer import Clock
from flows.data.tables import make_tables
from tests.data_contracts.test_formats import GIVEN, tree
from tests.flows.data.test_fuzz import places, put

ANSWERS: dict[Kind, tuple[str, ...]] = {"demonstrations": ("response",), "preferences": ("chosen", "rejected")}

BLANKS = ("", " \u200b\n")


def value_at(row: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        row = row[key]
    return row


def emptied() -> Iterator[tuple[str, Kind, dict[str, Any]]]:
    """Each row of a format that gives answers, with one of them empty, wherever it stands in the row."""
    trees = [("oasst", kind, tree(), [{"response": "In a pot.", "chosen": "In a pot.", "rejected": "Badly."}])
             for kind in ANSWERS]  # fmt: skip
    for name, kind, row, records in [*GIVEN, *trees]:
        answers = {record[column] for record in records for column in ANSWERS.get(kind, ())}
        for place in places(row):
            value = value_at(row, place)
            for answer in answers if isinstance(value, str) else ():
                if value.endswith(answer):
                    for blank in BLANKS:
                        yield name, kind, put(row, place, value.removesuffix(answer) + blank)


EMPTIED = list(emptied())

TOLD = {f"{column}_not_empty" for columns in ANSWERS.values() for column in columns}


def test_all_formats_with_answers_are_here() -> None:
    with_answers = {(name, kind) for name, kinds in FORMATS.items() for kind in kinds if kind in ANSWERS}
    assert {(name, kind) for name, kind, _ in EMPTIED} == with_answers


@pytest.mark.parametrize("kind", ANSWERS)
def test_no_answer_that_is_empty_is_used_and_each_is_told(kind: Kind, tmp_path: Path) -> None:
    for number, (name, row) in enumerate((name, row) for name, of, row in EMPTIED if of == kind):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "raw.jsonl").write_text(json.dumps(row) + "\n")
        data = FileData(**{"kind": "files", kind: (FileSource(path=str(folder / "raw.jsonl"), format=name),)})
        reads = open_sources(data, seed=0)
        tables = make_tables(reads, Shares(), ContractConfig(), folder=folder / "tables", clock=Clock(), judge=False)
        counts = tables[kind].counts
        assert TOLD & set(counts.by_rule), (name, row, counts)
        for path in (folder / "tables").rglob("*.parquet"):
            written = pd.read_parquet(path)
            assert all(written[column].str.strip("\u200b \n").all() for column in ANSWERS[kind]), (name, row)
