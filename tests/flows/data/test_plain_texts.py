"""Files that are read as columns give the very records, misfits and refusals that they give row by row."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_contracts.records import Kind
from flows.config.data import ContractConfig, FileData, FileSource, Shares
from flows.config.errors import InputError
from flows.data import plain_texts, sources
from flows.data.sources import open_sources
from flows.data.step_timer import Clock
from flows.data.tables import make_tables

FIRST = 20
COUNT = 60

ODD = {
    "nothing odd": "",
    "spaces around": '{"prompt":" q\\u00a0","chosen":"\\u3000a\\n","rejected":"b\\u001c"}',
    "an emoji by halves": '{"prompt":"\\ud83d\\ude00","chosen":"a","rejected":"b"}',
    "half of one": '{"prompt":"q \\ud83d","chosen":"a","rejected":"b"}',
    "the other half": '{"prompt":"q","chosen":"\\ude00","rejected":"b"}',
    "a zero": '{"prompt":"q\\u0000","chosen":"a","rejected":"b"}',
    "a null": '{"prompt":"q","chosen":null,"rejected":"b"}',
    "nothing there": '{"prompt":"q","rejected":"b"}',
    "a number": '{"prompt":"q","chosen":5,"rejected":"b"}',
    "true": '{"prompt":"q","chosen":true,"rejected":"b"}',
    "an object": '{"prompt":"q","chosen":{"a":1},"rejected":"b"}',
    "a list": '{"prompt":"q","chosen":["a"],"rejected":"b"}',
    "empty": '{"prompt":"","chosen":"  ","rejected":"\\u200b"}',
    "a key twice": '{"prompt":"q","chosen":"a","rejected":"b","prompt":"q"}',
    "a key twice in other letters": '{"prompt":"q","chosen":"a","rejected":"b","\\u0070rompt":"q"}',
    "another key twice": '{"prompt":"q","chosen":"a","rejected":"b","x":1,"x":2}',
    "a key twice and one missing": '{"prompt":"q","rejected":"b","rejected":"c"}',
    "a column more": '{"prompt":"q","chosen":"a","rejected":"b","x":"y"}',
    "a name of other letters": '{"prompt":"q","chosen":"a","rejected":"b","pro\\u00e9":"y"}',
    "a margin": '{"prompt":"q","chosen":"a","rejected":"b","margin":2}',
    "votes": '{"prompt":"q","chosen":"a","rejected":"b","votes_chosen":2,"votes_rejected":2}',
    "scores": '{"prompt":"q","chosen":"a","rejected":"b","score_chosen":1,"score_rejected":2}',
    "made up": '{"prompt":"q","chosen":"a","rejected":"b","synthetic":true}',
    "not a number": '{"prompt":"q","chosen":"a","rejected":"b","x":NaN}',
    "a large number": '{"prompt":"q","chosen":"a","rejected":"b","x":' + "9" * 400 + "}",
    "too large a number": '{"prompt":"q","chosen":"a","rejected":"b","x":' + "9" * 5000 + "}",
    "a real too large": '{"prompt":"q","chosen":"a","rejected":"b","x":1e999}',
    "deep": '{"prompt":"q","chosen":"a","rejected":"b","x":' + "[" * 2000 + "]" * 2000 + "}",
    "messages as text": '{"prompt":"[{\\"role\\": \\"user\\", \\"content\\": \\"q\\"}]","chosen":"a","rejected":"b"}',
    "half an emoji in them": (
        '{"prompt":"[{\\"role\\": \\"user\\", \\"content\\": \\"q \\\\ud800\\"}]","chosen":"a","rejected":"b"}'
    ),
    "messages as Python": '{"prompt":"[{\'role\': \'user\', \'content\': \'q\'}]","chosen":"a","rejected":"b"}',
    "a list as text": '{"prompt":"[1, 2]","chosen":"[a]","rejected":"{b}"}',
    "a transcript": '{"prompt":"Human: q\\n\\nAssistant: ","chosen":"a","rejected":"b"}',
    "a colon": '{"prompt":"Choose one:","chosen":"a","rejected":"b"}',
    "the same twice": '{"prompt":"q","chosen":"\\u212a","rejected":"K"}',
    "two in one line": '{"prompt":"q","chosen":"a","rejected":"b"} {"prompt":"q","chosen":"a","rejected":"c"}',
    "two in one line and none in the next": '{"prompt":"q","chosen":"a","rejected":"b"}{"prompt":"q"}\n',
    "over two lines": '{"prompt":"q",\n"chosen":"a","rejected":"b"}',
    "an empty line": "\n",
    "spaces before": '  {"prompt":"q","chosen":"a","rejected":"b"}',
    "Windows": '{"prompt":"q","chosen":"a","rejected":"b"}\r',
    "an old Mac": '{"prompt":"q","chosen":"a","rejected":"b"}\r{"prompt":"p","chosen":"a","rejected":"b"}',
    "a tab in a text": '{"prompt":"q\tr","chosen":"a","rejected":"b"}',
    "a comma too many": '{"prompt":"q","chosen":"a","rejected":"b",}',
    "a comma after it": '{"prompt":"q","chosen":"a","rejected":"b"},',
    "no object": '["q"]',
    "cut": '{"prompt":"q","chosen":"a","rej',
    "a wrong escape": '{"prompt":"q\\x","chosen":"a","rejected":"b"}',
    "other bytes": b'{"prompt":"q\xff","chosen":"a","rejected":"b"}'.decode("utf-8", "surrogateescape"),
    "long": '{"prompt":"' + "q" * 1_000_001 + '","chosen":"a","rejected":"b"}',
    "too long a line": '{"prompt":"' + "q" * 10_000_001 + '","chosen":"a","rejected":"b"}',
}


def row(number: int) -> dict[str, str]:
    return {"prompt": f"What is {number}?", "chosen": f"It is {number}, señor.", "rejected": f"No {number}"}


def lines(odd: str) -> bytes:
    rows = [json.dumps(row(number), ensure_ascii=False) for number in range(COUNT)]
    if odd:
        rows.insert(COUNT - 10, odd)
    return "\n".join([*rows, ""]).encode("utf-8", "surrogateescape")


def read(path: Path, kind: Kind) -> tuple[Any, ...]:
    """All that comes of a file: what batches hold, and the error at which it ends."""
    records: list[dict[Any, Any]] = []
    others: list[Any] = []
    held = False
    try:
        for batch, *said in open_sources(FileData.model_validate({kind: [FileSource(path=str(path))]}), seed=0)[kind]:
            records += batch.frame.to_dict("records")
            others += [(item.row, item.rule, item.field, item.reason) for item in batch.misfits]
            others += [*batch.left_out.items(), *batch.votes, *batch.remarks, *said]
            held |= isinstance(batch.frame["prompt"].dtype, pd.StringDtype) and len(batch.frame) > 0
    except InputError as error:
        records, others = [], [str(error)]  # nothing is kept of what came before
    counts = sorted(map(repr, dict.fromkeys(map(str, others))))
    return held, sorted(records, key=lambda record: record["row"]), counts


@pytest.fixture
def both_ways(monkeypatch: pytest.MonkeyPatch) -> Callable[..., bool]:
    def compare(path: Path, kind: Kind = "preferences") -> bool:
        with monkeypatch.context() as patch:
            patch.setattr(plain_texts, "BATCH_ROWS", FIRST)
            patch.setattr(sources, "FIRST_ROWS", 1)
            held, *columns = read(path, kind)
        with monkeypatch.context() as patch:
            patch.setattr(plain_texts, "BATCH_ROWS", FIRST)
            patch.setattr(sources, "FIRST_ROWS", 1)
            patch.setattr(sources, "plain_columns", lambda convert, fields: None)
            as_rows, *rows = read(path, kind)
        assert columns == rows and not as_rows
        return held

    return compare


@pytest.mark.parametrize("name", ODD)
def test_lines_are_read_as_columns_as_they_are_row_by_row(
    name: str, tmp_path: Path, both_ways: Callable[..., bool]
) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(lines(ODD[name]))
    assert both_ways(path)


def test_what_is_odd_is_noticed_in_any_block(
    tmp_path: Path, both_ways: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_texts, "BLOCK_BYTES", 1_000)
    for name in ("nothing odd", "a key twice", "an old Mac", "a null", "an empty line", "other bytes"):
        path = tmp_path / f"{name}.jsonl"
        path.write_bytes(b"\xef\xbb\xbf" + lines(ODD[name]).rstrip(b"\n"))
        assert both_ways(path)


@pytest.mark.parametrize("kind", ["demonstrations", "prompts"])
def test_other_kinds_are_read_so_too(kind: Kind, tmp_path: Path, both_ways: Callable[..., bool]) -> None:
    path = tmp_path / "answers.jsonl"
    rows = [{"prompt": f"What is {number}?", "completion": f"It is {number}.\n"} for number in range(COUNT)]
    path.write_text("".join(f"{json.dumps(each)}\n" for each in rows), encoding="utf-8")
    assert both_ways(path, kind)


def test_what_is_packed_or_cut_is_told_alike(tmp_path: Path, both_ways: Callable[..., bool]) -> None:
    packed = gzip.compress(lines(""))
    for name, content in {"whole": packed, "cut": packed[: len(packed) // 2]}.items():
        path = tmp_path / f"{name}.jsonl.gz"
        path.write_bytes(content)
        assert both_ways(path) or name == "cut"
    utf16 = tmp_path / "utf16.jsonl"
    utf16.write_text(lines("").decode(), encoding="utf-16")
    assert both_ways(utf16)


@pytest.mark.parametrize(
    "cells",
    [
        {},
        {"chosen": None},
        {"chosen": "  spaces "},
        {"id": 3},
        {"margin": 2.0},
        {"turns": ["a", "b"]},
        {"chosen": 3},
        {"prompt": "Human: q\n\nAssistant:"},
    ],
)
def test_parquet_is_read_as_columns_as_it_is_row_by_row(
    cells: dict[str, Any], tmp_path: Path, both_ways: Callable[..., bool]
) -> None:
    rows = [{**dict.fromkeys(cells), **row(number)} for number in range(COUNT)]
    rows[COUNT - 10] = {**rows[COUNT - 10], **cells}
    if cells == {"chosen": 3}:
        rows = [{**each, "chosen": number} for number, each in enumerate(rows)]
    path = tmp_path / "pairs.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    assert both_ways(path) == (not {"margin"} & set(cells) and cells != {"chosen": 3})


def test_parquet_with_bytes_that_are_no_text_is_told_alike(tmp_path: Path, both_ways: Callable[..., bool]) -> None:
    cells = [b"fine"] * 300
    cells[250] = b"\xff"
    wrong = pa.Array.from_buffers(pa.string(), 300, pa.array(cells, pa.binary()).buffers())
    rows = pa.Table.from_pylist([row(number) for number in range(300)])
    path = tmp_path / "pairs.parquet"
    pq.write_table(rows.set_column(1, "chosen", wrong), path)
    assert both_ways(path)


def test_the_same_becomes_of_rows_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = ["nothing there", "empty", "messages as text", "a transcript", "the same twice", "long", "spaces around"]
    asked_twice = json.dumps([{"role": "user", "content": "q"}] * 2)
    wrong = [
        json.dumps({"prompt": asked_twice, "chosen": "a", "rejected": "b"}),
        '{"prompt":"what\\tis  1 <|im_end|>?","chosen":"a [INST]","rejected":"b"}',
        json.dumps({name: text.upper() for name, text in row(1).items()}),
        json.dumps(row(2)),
        json.dumps({"prompt": row(3)["prompt"], "chosen": row(3)["rejected"], "rejected": row(3)["chosen"]}),
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_bytes(lines("\n".join([*(ODD[name] for name in odd), *wrong])))
    monkeypatch.setattr(plain_texts, "BATCH_ROWS", FIRST)
    ends = []
    for way in ("columns", "rows"):
        if way == "rows":
            monkeypatch.setattr(sources, "plain_columns", lambda convert, fields: None)
        reads = open_sources(FileData(preferences=(FileSource(path=str(path)),)), seed=0)
        contract = ContractConfig.model_validate({"rules": {"fits_format": "quarantine"}, "max_quarantined": 1.0})
        made = make_tables(reads, Shares(), contract, folder=tmp_path / way, clock=Clock(), near=0.7)["preferences"]
        aside = made.quarantine.path.read_text(encoding="utf-8").splitlines()
        ends.append((made.snapshot.digest, made.counts, made.numbers.to_dict("list"), sorted(aside)))
    assert ends[0] == ends[1]
    assert len(ends[0][1].by_rule) >= 6 and ends[0][1].special_tokens
