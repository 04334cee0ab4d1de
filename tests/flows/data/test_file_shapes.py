"""Files as labelling tools, spreadsheets and pandas write them: each shape is read, or refused by its true reason."""

import decimal
import gzip
import io
import json
import zlib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from flows.config.data import FileData, FileSource
from flows.config.errors import InputError
from flows.data.delimited import read_delimited
from flows.data.file_search import search_files
from flows.data.files import nameless_columns, read_file
from flows.data.sources import open_sources

ROWS = [
    {"prompt": "Wie geht's?", "chosen": 'Gut, "danke";\nsehr\tgut', "rejected": "Nö \U0001f600"},
    {"prompt": "How?", "chosen": "So.", "rejected": "No."},
]
CSV = pd.DataFrame(ROWS).to_csv(index=False)
LINES = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS) + "\n"
ARRAY = json.dumps(ROWS, ensure_ascii=False)
ZIPPED = gzip.compress(LINES.encode())
ZSTD = pa.Codec("zstd").compress(LINES.encode(), asbytes=True)
FOREIGN = "Frage,Antwort Ä,偏好"
FOREIGN_ROWS = [{"Frage": "1", "Antwort Ä": "2", "偏好": "A"}]
MESSAGES = [[{"role": "user", "content": "How?"}, {"role": "assistant", "content": "So."}]]

Content = bytes | str | Callable[[Path], Any]


def write(path: Path, content: Content) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if callable(content):
        content(path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [
        row.row
        for file in search_files(path).data
        for row in read_file(file, file.relative_to(path).as_posix() if path.is_dir() else file.name)
    ]


def parquet(columns: dict[str, Any]) -> Content:
    return lambda path: pyarrow.parquet.write_table(pa.table(columns), path)


def arrow(columns: dict[str, Any], *, stream: bool) -> Content:
    def save(path: Path) -> None:
        table = pa.table(columns)
        make = pa.ipc.new_stream if stream else pa.ipc.new_file
        with pa.OSFile(str(path), "wb") as file, make(file, table.schema) as writer:
            writer.write_table(table)

    return save


def by_frame(name: str, *arguments: Any, **settings: Any) -> Content:
    return lambda path: getattr(pd.DataFrame(ROWS), name)(path, *arguments, **settings)


PLAIN = [{"prompt": "a", "chosen": "b"}]
COLUMNS = {"prompt": ["a"], "chosen": ["b"]}

READ: dict[str, tuple[str, Content, list[dict[str, Any]]]] = {
    "CSV with a byte order mark": ("a.csv", CSV.encode("utf-8-sig"), ROWS),
    "JSON Lines with a byte order mark": ("a.jsonl", LINES.encode("utf-8-sig"), ROWS),
    "JSON Lines that were joined, marks and all": ("a.jsonl", LINES.encode("utf-8-sig") * 2, ROWS * 2),
    "JSON with a byte order mark": ("a.json", ARRAY.encode("utf-8-sig"), ROWS),
    "packed CSV with a byte order mark": ("a.csv.gz", gzip.compress(CSV.encode("utf-8-sig")), ROWS),
    "UTF-16 CSV": ("a.csv", CSV.encode("utf-16"), ROWS),
    "UTF-16 CSV, the other end first": ("a.csv", b"\xfe\xff" + CSV.encode("utf-16-be"), ROWS),
    "UTF-16 with tabs, as spreadsheets save Unicode text": (
        "a.tsv",
        by_frame("to_csv", index=False, sep="\t", encoding="utf-16", lineterminator="\r\n"),
        ROWS,
    ),
    "UTF-16 JSON Lines": ("a.jsonl", LINES.encode("utf-16"), ROWS),
    "UTF-16 JSON Lines, packed": ("a.jsonl.gz", gzip.compress(LINES.encode("utf-16")), ROWS),
    "UTF-16 JSON": ("a.json", ARRAY.encode("utf-16"), ROWS),
    "UTF-32 JSON": ("a.json", ARRAY.encode("utf-32"), ROWS),
    "CSV with CRLF": ("a.csv", by_frame("to_csv", index=False, lineterminator="\r\n"), ROWS),
    "CSV with CR alone": ("a.csv", "prompt,chosen\ra,b\rc,d\r", [*PLAIN, {"prompt": "c", "chosen": "d"}]),
    "JSON Lines with CRLF": ("a.jsonl", LINES.replace("\n", "\r\n"), ROWS),
    "JSON Lines with CR alone": ("a.jsonl", LINES.replace("\n", "\r"), ROWS),
    "CSV with semicolons": ("a.csv", by_frame("to_csv", index=False, sep=";"), ROWS),
    "CSV with tabs": ("a.csv", by_frame("to_csv", index=False, sep="\t"), ROWS),
    "TSV, packed": ("a.tsv.gz", by_frame("to_csv", index=False, sep="\t"), ROWS),
    "TSV with as many commas": ("a.tsv", "prompt, a\tchosen\nWell, b\tc\n", [{"prompt, a": "Well, b", "chosen": "c"}]),
    "TSV with more": ("a.tsv.gz", gzip.compress(b"a (b, c, d)\te\nf,g\th\n"), [{"a (b, c, d)": "f,g", "e": "h"}]),
    "TSV that is none": ("a.tsv", "prompt,chosen\na,b\n", PLAIN),
    "CSV with bars": ("a.csv", by_frame("to_csv", index=False, sep="|"), ROWS),
    "CSV whose first line names the separator": ("a.csv", "sep=;\r\nprompt;chosen\r\na;b\r\n", PLAIN),
    "separators in quoted names": ("a.csv", 'prompt,"a;b;c;d"\na,b\n', [{"prompt": "a", "a;b;c;d": "b"}]),
    "names that are not ASCII": ("a.csv", f"{FOREIGN}\n1,2,A\n".encode("utf-8-sig"), FOREIGN_ROWS),
    "names that are not ASCII, by a spreadsheet": (
        "a.csv",
        f"{FOREIGN}\r\n1,2,A\r\n".replace(",", "\t").encode("utf-16"),
        FOREIGN_ROWS,
    ),
    "names whose signs are taken apart": ("a.csv", normalize("NFD", f"{FOREIGN}\n1,2,A\n"), FOREIGN_ROWS),
    "the same in JSON": ("a.jsonl", json.dumps({"Pr\u0061\u0308f": "a"}), [{"Pr\u00e4f": "a"}]),
    "the same in Parquet": ("a.parquet", parquet({"Pr\u0061\u0308f": ["a"]}), [{"Pr\u00e4f": "a"}]),
    "one column": ("a.csv", "prompt\nHow?\n\nWhy?\n", [{"prompt": "How?"}, {"prompt": "Why?"}]),
    "blank lines around a table": ("a.csv", "\n\nprompt,chosen\n\na,b\n\n\n", PLAIN),
    "spaces after commas": ("a.csv", 'prompt, "chosen"\na, "b, c"\n', [{"prompt": "a", "chosen": "b, c"}]),
    "quotation marks inside": (
        "a.csv",
        'prompt,chosen\na,"""b"" c"\na,5" d\n',
        [{"prompt": "a", "chosen": '"b" c'}, {"prompt": "a", "chosen": '5" d'}],
    ),
    "a long cell": ("a.csv", f"prompt\n{'x' * 200_000}\n", [{"prompt": "x" * 200_000}]),
    "empty cells and words for nothing": (
        "a.csv",
        "prompt,chosen,label\na,None,\n",
        [{"prompt": "a", "chosen": "None", "label": ""}],
    ),
    "an index without a name": ("a.csv", by_frame("to_csv"), ROWS),
    "an index that was read and written again": ("a.csv", "Unnamed: 0,prompt,chosen\n0,a,b\n", PLAIN),
    "trailing separators": ("a.csv", "prompt,chosen,,\na,b,,\n", PLAIN),
    "packed parts in one file": ("a.jsonl.gz", gzip.compress(LINES.encode()) * 2, ROWS * 2),
    "Zstandard": ("a.jsonl.zst", ZSTD, ROWS),
    "Zstandard parts in one file": ("a.jsonl.zst", ZSTD * 2, ROWS * 2),
    "Zstandard CSV": ("a.csv.zst", pa.Codec("zstd").compress(CSV.encode(), asbytes=True), ROWS),
    "any Unicode in gzip": (
        "a.jsonl.gz",
        gzip.compress('{"p": "\u2028\x85\u0000\ufeff"}'.replace("\0", "\\u0000").encode()),
        [{"p": "\u2028\x85\0\ufeff"}],
    ),
    "Parquet by pandas": ("a.parquet", by_frame("to_parquet"), ROWS),
    "Parquet with a kept index": (
        "a.parquet",
        lambda path: pd.DataFrame(ROWS, index=[7, 9]).to_parquet(path),
        ROWS,
    ),
    "Parquet with a named index": (
        "a.parquet",
        lambda path: pd.DataFrame(PLAIN).set_index("prompt").to_parquet(path),
        [{"chosen": "b", "prompt": "a"}],
    ),
    "nullable strings and numbers": (
        "a.parquet",
        lambda path: pd.DataFrame(
            {"prompt": pd.array(["a", None], dtype="string"), "votes": pd.array([1, None], dtype="Int64")}
        ).to_parquet(path),
        [{"prompt": "a", "votes": 1}, {"prompt": None, "votes": None}],
    ),
    "categories": (
        "a.parquet",
        lambda path: pd.DataFrame({"prompt": ["a"], "label": pd.Categorical(["A"])}).to_parquet(path),
        [{"prompt": "a", "label": "A"}],
    ),
    "large strings": ("a.parquet", parquet({"prompt": pa.array(["a"], pa.large_string())}), [{"prompt": "a"}]),
    "dictionary columns": (
        "a.parquet",
        parquet({"prompt": pa.array(["a", None, "a"]).dictionary_encode()}),
        [{"prompt": "a"}, {"prompt": None}, {"prompt": "a"}],
    ),
    "lists of messages": ("a.parquet", parquet({"messages": MESSAGES}), [{"messages": MESSAGES[0]}]),
    "a struct, and a map of votes": (
        "a.parquet",
        parquet(
            {
                "data": [{"prompt": "a"}],
                "votes": pa.array([[("ann", "a"), ("bob", "b")]], pa.map_(pa.string(), pa.string())),
            }
        ),
        [{"data": {"prompt": "a"}, "votes": {"ann": "a", "bob": "b"}}],
    ),
    "decimals, half floats, gaps": (
        "a.parquet",
        parquet(
            {
                "a": [decimal.Decimal("1.50"), None],
                "b": np.array([0.5, np.nan], dtype=np.float16),
                "c": pa.nulls(2),
            }
        ),
        [{"a": 1.5, "b": 0.5, "c": None}, {"a": None, "b": None, "c": None}],
    ),
    "dates and times": ("a.parquet", parquet({"at": [datetime(2026, 1, 2)]}), [{"at": datetime(2026, 1, 2)}]),
    "an Arrow file": ("a.arrow", arrow(COLUMNS, stream=False), PLAIN),
    "an Arrow stream": ("a.arrow", arrow(COLUMNS, stream=True), PLAIN),
    "Arrow with large strings and views": (
        "a.arrow",
        arrow({"prompt": pa.array(["a"], pa.large_string()), "chosen": pa.array(["b"], pa.string_view())}, stream=True),
        PLAIN,
    ),
}


@pytest.mark.parametrize("shape", READ)
def test_every_shape_of_file_is_read(shape: str, tmp_path: Path) -> None:
    name, content, expected = READ[shape]
    assert read(write(tmp_path / name, content)) == expected


def broken_utf_8(path: Path) -> None:
    cells = pa.array([b"a", b"caf\xe9"]).cast(pa.binary())
    text = pa.Array.from_buffers(pa.string(), 2, cells.buffers())
    pyarrow.parquet.write_table(pa.table({"prompt": text}), path)


REFUSED: dict[str, tuple[str, Content, str]] = {
    "more cells": ("a.csv", "a,b\n1,2\n1,2,3\n", r"^a\.csv row 2 \(line 3\): has 3 cells, and the header has 2: quote"),
    "fewer cells": ("a.csv", "a,b\n1,2\n\n1\n", r"^a\.csv row 2 \(line 4\): has 1 cells, and the header has 2: quote"),
    "an index that the header forgot": (
        "a.csv",
        "a,b\n0,1,2\n",
        r"row 1 \(line 2\): has 3 cells, and the header has 2",
    ),
    "a comma in a text that is not quoted": ("a.csv", "a;b\n1;2;3\n", r"row 1 .*quote a text that holds ';' or a line"),
    "a break in a text that is not quoted": ("a.csv", "a,b\n1,2\n3\n4,5\n", r"row 2 \(line 3\): has 1 cells"),
    "the line where a row of several ends": ("a.csv", 'a,b\n"1\n2",3\n4\n', r"row 2 \(line 4\): has 1 cells"),
    "two columns of one name": ("a.csv", "a, b,b\n1,2,3\n", r"^a\.csv: two columns have the same name, b: rename one"),
    "no name at all": ("a.csv", ",,\n1,2,3\n", r"^a\.csv: no column has a name: let the first line be a header"),
    "the header again": (
        "a.csv",
        "a,b\n1,2\n\ufeffa,b\n3,4\n",
        r"^a\.csv row 2 \(line 3\): is the header again: remove",
    ),
    "a mark escaped by a backslash": (
        "a.csv",
        'a,b\n1,"say \\"hi\\" now"\n',
        r"row 1 \(from line 2\): is not CSV .*twice",
    ),
    "a mark that is lost in the header": (
        "a.csv",
        '"a,b\n1,2\n',
        r"^a\.csv, header: is not CSV .*: mend its quotation",
    ),
    "cp1252": ("a.csv", "a,b\n1,“so”\n".encode("cp1252"), r"row 1, field b: is not UTF-8 at byte 1: .*iconv -f CP1252"),
    "cp1252 in the header": (
        "a.csv",
        "a,größe\n1,2\n".encode("cp1252"),
        r"^a\.csv, header: is not UTF-8 at byte 5: conv",
    ),
    "Chinese of Windows in the header": (
        "a.csv",
        "问题,偏好\n1,2\n".encode("gb18030"),
        r"^a\.csv, header: is not UTF-8 at byte 1: .*GB18030 for Chinese",
    ),
    "a key twice in JSON Lines": (
        "a.jsonl",
        LINES + '{"prompt": 1, "prompt": 2}\n',
        r"^a\.jsonl row 3: has 'prompt' twice in one object: keep one$",
    ),
    "a key twice in a JSON array": (
        "a.json",
        '[{"a": 1}, {"a": 1, "b": {"c": 1, "d": 2, "c": 1}}]',
        r"^a\.json row 2: has 'c' twice in one object: keep one$",
    ),
    "cp1252 in JSON Lines": ("a.jsonl", LINES.encode("cp1252", "replace"), r"row 1: is not UTF-8 at byte \d+: convert"),
    "cp1252 in gzip": ("a.jsonl.gz", gzip.compress(b'{"p": "caf\xe9"}'), r"row 1: is not UTF-8 at byte 11: convert"),
    "UTF-16 without its mark": ("a.csv", CSV.encode("utf-16-le"), r"is UTF-16 without its byte order mark: save it as"),
    "UTF-16 cut in the middle": ("a.jsonl", LINES.encode("utf-16")[:-3], r"is damaged after row \d|row 2: is not JSON"),
    "half a sign of UTF-16": ("a.jsonl", LINES.encode("utf-16")[:-1], r"is damaged after row \d .*: fetch it again"),
    "gzip cut short": ("a.jsonl.gz", ZIPPED[:-9], r"is damaged after row \d+ .*: fetch it again"),
    "gzip with a wrong sum": (
        "a.jsonl.gz",
        ZIPPED[:-8] + zlib.crc32(b"other").to_bytes(4, "little") + ZIPPED[-4:],
        r"is damaged after row \d+ .*: fetch it again",
    ),
    "gzip with something after it": ("a.jsonl.gz", ZIPPED + b"more", r"is damaged after row \d+ .*: fetch it again"),
    "gzip in gzip": ("a.jsonl.gz", gzip.compress(ZIPPED), r"is packed twice: unpack it once"),
    "gzip of nothing": ("a.jsonl.gz", gzip.compress(b""), r"holds no row: fetch or export it again"),
    "Zstandard cut short": ("a.jsonl.zst", ZSTD[:-5], r"is damaged after row \d+ .*: fetch it again"),
    "Zstandard with something after it": (
        "a.jsonl.zst",
        ZSTD + b"more",
        r"is damaged after row \d+ .*: fetch it again",
    ),
    "Zstandard without its ending": ("a.jsonl", ZSTD, r"is packed by Zstandard: let its name end with \.zst"),
    "no Zstandard": ("a.jsonl.zst", LINES, r"is not packed by Zstandard: let its name end without \.zst"),
    "gzip under the name of the other": ("a.jsonl.zst", ZIPPED, r"is gzipped: let its name end with \.gz"),
    "packed Parquet": (
        "a.parquet.gz",
        gzip.compress(b"PAR1"),
        r"is gzipped, and \.parquet is packed inside: unpack it",
    ),
    "bzip2": ("a.csv", b"BZh91AY", r"is packed by something other than gzip and Zstandard: unpack it"),
    "columns of pandas in one object": (
        "a.json",
        by_frame("to_json"),
        r"row 1: is a table by columns, as pandas writes it by default: write rows, by orient='records', lines=True",
    ),
    "two columns of Parquet": (
        "a.parquet",
        lambda path: pyarrow.parquet.write_table(pa.table([["a"], ["b"]], names=["prompt", "prompt"]), path),
        r"^a\.parquet: two columns have the same name, prompt: rename one",
    ),
    "Parquet that is not UTF-8": ("a.parquet", broken_utf_8, r"^a\.parquet row 2, field prompt: is not UTF-8: mend"),
    "a date beyond dates": (
        "a.parquet",
        parquet({"prompt": ["a", "b"], "at": pa.array([0, 2**60], pa.timestamp("us"))}),
        r"^a\.parquet row 2, field at: is beyond what can be held: mend the row, or leave the column out",
    ),
    "Parquet cut short": (
        "a.parquet",
        lambda path: write(path, (parquet(COLUMNS)(path), path.read_bytes())[1][:-9]),
        r"is damaged after row 0",
    ),
    "Arrow cut short": (
        "a.arrow",
        lambda path: write(path, (arrow(COLUMNS, stream=True)(path), path.read_bytes())[1][:-90]),
        r"is damaged after row 0",
    ),
}


@pytest.mark.parametrize("shape", REFUSED)
def test_what_cannot_be_read_is_refused_by_its_true_reason_in_one_line(shape: str, tmp_path: Path) -> None:
    name, content, message = REFUSED[shape]
    path = write(tmp_path / name, content)
    with pytest.raises(InputError, match=message) as refused:
        read(path)
    assert "\n" not in str(refused.value) and "“so”" not in str(refused.value)


def test_a_row_of_another_width_is_named() -> None:
    for row in ("1", "1,2,3"):
        try:
            problem = str(list(read_delimited(io.StringIO(f"a,b\n1,2\n{row}\n"), "a.csv")))
        except (InputError, ValueError) as error:
            problem = str(error)
        assert problem.startswith(f"a.csv row 2 (line 3): has {len(row.split(','))} cells, and the header has 2")


@pytest.mark.parametrize("name", ["a.tsv", "a.TSV.tsv.gz"])
def test_tabs_separate_what_is_called_so_whatever_commas_its_header_has(name: str) -> None:
    for header in ("prompt, of the user\tchosen", "prompt (a, b, c)\tchosen", '"prompt, x"\tchosen'):
        [(_, row)] = read_delimited(io.StringIO(f"{header}\nWell, so\tyes\n"), name)
        assert list(row.values()) == ["Well, so", "yes"]
    [(_, row)] = read_delimited(io.StringIO("prompt,chosen\nWell;\tso,yes\n"), name)
    assert row == {"prompt": "Well;\tso", "chosen": "yes"}


def test_columns_without_a_name_are_counted_as_not_read(tmp_path: Path) -> None:
    pd.DataFrame(ROWS).to_csv(tmp_path / "a.csv")
    pd.DataFrame(ROWS, index=[7, 9]).to_parquet(tmp_path / "b.parquet")
    write(tmp_path / "c.csv", "prompt,chosen,,\na,b,,\n")
    write(tmp_path / "d.jsonl", LINES)
    assert [nameless_columns(file) for file in search_files(tmp_path).data] == [
        ["1 of 4"], ["4 of 4"], ["3 of 4", "4 of 4"], []]  # fmt: skip
    source = FileData(preferences=(FileSource(path=str(tmp_path / "a.csv")),))
    batches = [read.batch for read in open_sources(source, seed=0)["preferences"]]
    assert batches[0].left_out == {"column without a name, not read: 1 of 4 of a.csv": 1}
    assert sum(len(batch.frame) for batch in batches) == 2


def test_shards_of_pandas_are_one_table_and_their_folders_are_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame({"prompt": ["a", "b", "c"], "annotator": ["ann", "b/b", None], "part": [1, 1, 2]})
    frame.to_parquet(tmp_path / "pairs", partition_cols=["annotator", "part"])
    for extra in ("_SUCCESS", "_metadata", "_delta_log/0.json", ".part-0.parquet.crc"):
        write(tmp_path / "pairs" / extra, b"no data")
    expected = [("a", "ann", "1"), ("b", "b/b", "1"), ("c", None, "2")]
    rows = read(tmp_path / "pairs")
    assert sorted((row["prompt"], row["annotator"], row["part"]) for row in rows) == expected
    plain = tmp_path / "plain"
    for number in (0, 1):
        write(plain / f"part-{number}.parquet", parquet({"prompt": [str(number)], "__index_level_0__": [number]}))
    assert read(plain) == [{"prompt": "0"}, {"prompt": "1"}]


def test_a_column_of_the_file_wins_over_its_folder(tmp_path: Path) -> None:
    write(tmp_path / "label=folder" / "a.jsonl", '{"label": "row"}')
    assert read(tmp_path) == [{"label": "row"}]
