"""Files that would fill the memory, hang, or end the process: refused in a line that names the place."""

import gzip
import io
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from data_contracts.formats.convert import SourceRow
from flows.config.errors import InputError
from flows.data import plain_texts
from flows.data.file_search import search_files
from flows.data.files import MOST_FIELDS, read_file
from flows.data.text_files import LONGEST_LINE, bounded_lines
from tests.flows.data.test_file_shapes import arrow, parquet, read, write

WIDE = ",".join(f"c{number}" for number in range(MOST_FIELDS + 1))
MAP = pa.map_(pa.list_(pa.int32()), pa.string())
LONG = b"x" * (LONGEST_LINE + 1)
BLANK = (b" " * 999 + b"\n") * (LONGEST_LINE // 1000 + 1)

HARMFUL: dict[str, tuple[str, Any, str]] = {
    "a cell that unpacks without end": ("a.csv.gz", gzip.compress(b'a,b\n"' + LONG), r"line 2: has more than 10 MB, w"),
    "a header that does": ("a.csv.gz", gzip.compress(LONG), r"^a\.csv\.gz line 1: has more than 10 MB, which no sens"),
    "a row that does": ("a.jsonl.gz", gzip.compress(b'{}\n{"a": "' + LONG), r"row 2: has more than 10 MB, which no"),
    "no header": ("a.csv.gz", gzip.compress(BLANK), r"^a\.csv\.gz line 10001: ends more than 10 MB of white space and"),
    "no row": ("a.jsonl.gz", gzip.compress(b"{}\n" + BLANK), r"row 10002: ends more than 10 MB of white space and l"),
    "one blank": ("a.json.gz", gzip.compress(b" " * len(LONG)), r"row 1: has more than 10 MB, which no sensible row"),
    "a gap in an array": ("a.json.gz", gzip.compress(b"[{}," + BLANK), r"^a\.json\.gz, in its array: ends more than"),
    "a table on its side": ("a.csv", f"{WIDE}\n{WIDE.replace('c', '')}\n", r"row 1: has 2,001 fields, and 2,000 are"),
    "the same in JSON": ("a.jsonl", json.dumps(dict.fromkeys(WIDE.split(","), 1)), r"row 1: has 2,001 fields, and"),
    "a long cell": ("a.parquet", parquet({"p": ["a", LONG.decode()]}), r"row 2, field p: a cell has 10 MB, more than"),
    "one that repeats": (
        "a.arrow",
        arrow({"p": pa.array([LONG.decode()] * 2).dictionary_encode()}, stream=False),
        r"^a\.arrow row 1, field p: a cell has 10 MB, more than the 10 MB of any sensible one: shorten it, or",
    ),
    "one in a list": ("a.parquet", parquet({"p": [["a"], ["b"], [LONG.decode()]]}), r"row 3, field p: a cell has 10"),
    "one in messages": ("a.parquet", parquet({"p": [[], [{"t": LONG.decode()}], []]}), r"row 2, field p: a cell has"),
    "one by messages": ("a.parquet", parquet({"p": [[{"t": "x" * 10**6}] * 11]}), r"row 1, field p: a cell has"),
    "a time zone that is none": (
        "a.arrow",
        arrow({"at": pa.array([1], pa.timestamp("s", tz="Mars/Base"))}, stream=True),
        r"^a\.arrow row 1, field at: has the time zone 'Mars/Base', which is none: mend the row, or leave the column",
    ),
    "a map of lists": ("a.parquet", parquet({"v": pa.array([[([1], "a")]], MAP)}), r"row 1, field v: a key of its map"),
    "a key twice in a map": (
        "a.parquet",
        parquet({"v": pa.array([None, [("ann", "a"), ("ann", "b")]], pa.map_(pa.string(), pa.string()))}),
        r"row 2, field v: has a key twice in one map: keep one",
    ),
}  # fmt: skip


@pytest.mark.parametrize("harm", HARMFUL)
def test_a_harmful_file_is_refused_at_its_place(harm: str, tmp_path: Path) -> None:
    name, content, message = HARMFUL[harm]
    with pytest.raises(InputError, match=message):
        read(write(tmp_path / name, content))


def test_no_more_of_a_line_is_held_than_the_longest_has() -> None:
    class Endless(io.StringIO):
        def readline(self, size: int | None = -1, /) -> str:
            assert size is not None and 0 < size <= LONGEST_LINE + 1
            return "x" * size

    with pytest.raises(InputError, match=r"^a row 1: has more than 10 MB"):
        next(bounded_lines(Endless(), "a row"))


def pipe(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


@pytest.mark.parametrize("made", [pipe, unix_socket])
@pytest.mark.parametrize("beside", [True, False])
def test_what_is_no_file_is_not_waited_for(made: Callable[[Path], None], beside: bool) -> None:
    folder = Path(os.path.relpath(os.environ.get("TMPDIR", "/tmp"))) / f"pipe-{os.getpid()}"  # noqa: S108 (short: a socket)
    folder.mkdir()
    try:
        made(folder / "a.jsonl")
        with pytest.raises(InputError, match=r"a\.jsonl is a pipe, a socket or a device, and no file: save"):
            search_files(folder if beside else folder / "a.jsonl")
    finally:
        (folder / "a.jsonl").unlink(missing_ok=True)
        folder.rmdir()


@pytest.mark.parametrize(
    ("path", "words"), [("a**b/*.csv", "is no pattern of files"), ("x" * 300, "may not be listed .File name too long")]
)
def test_a_path_that_nothing_can_lie_at_is_told(path: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        search_files(tmp_path / path)


def test_a_saved_data_set_whose_state_is_no_state_is_told(tmp_path: Path) -> None:
    write(tmp_path / "state.json", "[" * 200_000)
    write(tmp_path / "dataset_info.json", "{}")
    with pytest.raises(InputError, match=r"state\.json: is not what `save_to_disk` writes"):
        search_files(tmp_path)


def test_an_arrow_file_that_is_cut_while_it_is_read_ends_no_process(tmp_path: Path) -> None:
    table = pa.table({"prompt": [f"row {number}" for number in range(40_000)]})
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=10_000)
    rows = read_file(tmp_path / "a.arrow", "a.arrow")
    next(rows)
    os.truncate(tmp_path / "a.arrow", 1000)
    with pytest.raises(InputError, match=r"a\.arrow is damaged after row 10000"):
        list(rows)


@pytest.mark.parametrize("cell", ["x" * 6, [{"t": "x" * 4, "n": None}, {"t": ["x", "x"]}]])
def test_fewer_rows_are_converted_at_once_where_they_are_long(cell: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_texts, "BATCH_CHARACTERS", 10)
    rows = [SourceRow("a", number, {"p": cell, "n": 1}) for number in range(5)]
    assert [len(chunk) for chunk in plain_texts.chunks_of(rows)] == [2, 2, 1]


def test_fewer_first_rows_are_held_where_they_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_texts, "BATCH_CHARACTERS", 10)
    rows = (SourceRow("a", number, {"p": "x" * 6}) for number in range(5))
    assert [row.number for row in plain_texts.first_of(rows, 4)] == [0, 1]
    assert [row.number for row in rows] == [2, 3, 4]
