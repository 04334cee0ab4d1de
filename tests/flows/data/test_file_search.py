"""Which files a path means, and what is read of them."""

import gzip
import json
import os
import stat
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from flows.config.data import FileData, FileSource
from flows.config.errors import InputError
from flows.data.file_search import search_files
from flows.data.files import read_file
from flows.data.sources import file_digests, open_sources

ROWS = [{"prompt": f"How {i}?", "chosen": f"So {i}.", "rejected": f"No {i}."} for i in range(3)]


def lines(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [row.row for file in search_files(path).data for row in read_file(file, file.name)]


COPIES = (
    ".ipynb_checkpoints/a-checkpoint.jsonl",
    ".a.jsonl",
    "deep/.cache/a.jsonl",
    "__MACOSX/._a.jsonl",
    "~$a.csv",
    "a.jsonl~",
    "a.jsonl.bak",
    "a.csv.gz.old",
)


def test_hidden_files_and_backups_are_passed_over_and_counted(tmp_path: Path) -> None:
    folder = tmp_path / ".named"
    data = lines(folder / "a.jsonl")
    for copy in COPIES:
        lines(folder / copy)
    (folder / "notes.txt").write_text("no data")
    assert search_files(folder).data == search_files(folder / "**" / "*.jsonl").data == [data]
    assert [file.relative_to(folder).as_posix() for file in search_files(folder).copies] == sorted(COPIES)
    source = FileData(preferences=(FileSource(path=str(folder)),))
    batches = [read.batch for read in open_sources(source, seed=0)["preferences"]]
    assert sum(batch.rows for batch in batches) == 3
    assert sum(sum(batch.left_out.values()) for batch in batches) == len(COPIES) + 1
    assert "hidden file or backup, not read: .named/.a.jsonl" in batches[0].left_out
    assert "no data by the ending, not read: *.txt, such as .named/notes.txt" in batches[0].left_out


def test_files_that_are_no_data_are_counted_by_their_endings(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl")
    for name in ("a.jsonl.zip", "LICENSE", "sub/notes.md", "sub/more.md", ".git/index"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    for number in range(40):
        (tmp_path / f"part.{number}").write_text("x")
    passed = search_files(tmp_path).passed_over(tmp_path)
    assert passed["no data by the ending, not read: *, such as LICENSE"] > 20
    assert passed["no data by the ending, not read: *.zip, such as a.jsonl.zip"] == 1
    assert sum(passed.values()) == 44
    assert len(passed) <= 21


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("b.JSONL", "has none of the endings"),
        ("sub/c.Jsonl.GZ", "has none of the endings"),
        ("b.jsonlines", "has none of the endings"),
        ("d.jsonl.bz2", "is packed in a form that is not read: unpack it"),
        ("e.csv.zip", "is an archive: unpack it"),
        ("f.feather", "is no format that is read"),
    ],
)
def test_data_in_another_form_are_no_half_of_a_folder(name: str, mend: str, tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl")
    lines(tmp_path / name)
    with pytest.raises(InputError, match=rf"{name}:? {mend}.*, or name the files of {tmp_path} that are meant$"):
        search_files(tmp_path)


def test_a_linked_folder_of_data_is_named(tmp_path: Path) -> None:
    data = lines(tmp_path / "named" / "a.jsonl")
    shard = lines(tmp_path / "elsewhere" / "b.jsonl")
    link = tmp_path / "named" / "sub"
    link.symlink_to("../elsewhere")
    for path in (data.parent, data.parent / "**" / "*.jsonl"):
        with pytest.raises(
            InputError, match=r"named/sub is a link to a folder, .*holds b\.jsonl: name it as a path of"
        ):
            search_files(path)
    assert search_files(link).data == [link / "b.jsonl"]
    assert search_files(data.parent / "*" / "*.jsonl").data == [link / "b.jsonl"]
    shard.rename(shard.with_suffix(".png"))
    (data.parent / "loop").symlink_to(".")
    assert search_files(data.parent).data == [data]


def test_a_pattern_passes_over_no_data(tmp_path: Path) -> None:
    data = lines(tmp_path / "a.jsonl")
    part = lines(tmp_path / "b.jsonl" / "part-0.jsonl")
    for pattern in ("*.jsonl", "*"):
        with pytest.raises(InputError, match=r"b\.jsonl is a folder, and no file, and holds part-0\.jsonl: name it"):
            search_files(tmp_path / pattern)
    assert search_files(tmp_path / "**" / "*.jsonl").data == search_files(tmp_path).data == [data, part]
    part.unlink()
    assert search_files(tmp_path / "*").data == [data]
    (tmp_path / "c.jsonl").symlink_to(".git/annex/objects/x")
    with pytest.raises(InputError, match=r"c\.jsonl is not here, or a link to a file that is not"):
        search_files(tmp_path / "*.jsonl")
    (tmp_path / "c.jsonl").unlink()
    os.mkfifo(tmp_path / "c.jsonl")
    with pytest.raises(InputError, match=r"c\.jsonl is a pipe"):
        search_files(tmp_path / "*.jsonl")


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed, whose folder may not be listed")
def test_a_pattern_names_a_folder_that_it_may_not_list(tmp_path: Path) -> None:
    closed = lines(tmp_path / "b" / "b.jsonl").parent
    lines(tmp_path / "a" / "a.jsonl")
    closed.chmod(0)
    for folder in [tmp_path, *tmp_path.parents]:
        if not folder.stat().st_mode & stat.S_IXOTH:
            folder.chmod(0o755)
    os.seteuid(65534)
    try:
        with pytest.raises(InputError, match=r"/b: may not be listed .Permission denied.: give this user the right"):
            search_files(tmp_path / "*" / "*.jsonl")
    finally:
        os.seteuid(0)
        closed.chmod(0o755)


def test_what_is_named_by_a_dot_is_read(tmp_path: Path) -> None:
    hidden = lines(tmp_path / ".a.jsonl")
    assert read(hidden) == read(tmp_path / ".*.jsonl") == ROWS
    with pytest.raises(InputError, match=r"holds only hidden files and copies, such as \.a\.jsonl: name the file"):
        search_files(tmp_path)


def test_the_same_bytes_twice_are_no_second_annotator(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl")
    lines(tmp_path / "a (1).jsonl")
    both = FileData(preferences=(FileSource(path=str(tmp_path)),))
    with pytest.raises(
        InputError, match=r"a\.jsonl: holds the same bytes as .*a \(1\)\.jsonl, and both are read as pref"
    ):
        file_digests(both)
    one = FileSource(path=str(tmp_path / "a.jsonl"))
    assert len(file_digests(FileData(preferences=(one,), prompts=(one,), held_out=(one, one)))) == 4


@pytest.mark.parametrize(("ending", "codec"), [("gz", "gzip"), ("zst", "zstd")])
def test_a_file_and_its_packed_copy_are_no_two_annotators(ending: str, codec: str, tmp_path: Path) -> None:
    plain = lines(tmp_path / "a.jsonl")
    with pa.output_stream(str(tmp_path / f"a.jsonl.{ending}"), compression=codec) as file:
        file.write(plain.read_bytes())
    folder = FileSource(path=str(tmp_path))
    with pytest.raises(InputError, match=rf"^.*a\.jsonl\.{ending}: is .*a\.jsonl packed, and both are read as pref"):
        file_digests(FileData(preferences=(folder,)))
    assert len(file_digests(FileData(held_out=(folder,)))) == 2


def test_what_is_not_gzipped_is_told_so(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl").rename(tmp_path / "a.jsonl.gz")
    with pytest.raises(InputError, match=r"a\.jsonl\.gz is not gzipped: let its name end without \.gz"):
        read(tmp_path)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.json.gz", "a.jsonl.gz"])
@pytest.mark.parametrize("text", ["lines", "array"])
def test_json_is_read_by_what_it_holds(name: str, text: str, tmp_path: Path) -> None:
    content = ("\n".join(map(json.dumps, ROWS)) if text == "lines" else f"\n {json.dumps(ROWS)}").encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    assert read(tmp_path / name) == ROWS


def test_a_saved_data_set_is_its_rows_without_what_was_cached(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    rows = Dataset.from_list(ROWS)
    rows.save_to_disk(tmp_path / "one")
    (arrow,) = (tmp_path / "one").glob("*.arrow")
    (tmp_path / "one" / "cache-0123.arrow").write_bytes(arrow.read_bytes())
    found = search_files(tmp_path / "one")
    assert read(tmp_path / "one") == read(arrow) == read(tmp_path / "one" / "*.arrow") == ROWS
    assert [file.name for file in found.copies] == ["cache-0123.arrow"]
    DatasetDict({"train": rows, "test": rows}).save_to_disk(tmp_path / "two")
    with pytest.raises(InputError, match=r"splits train, test: name the folder of one, such as .*two/train"):
        search_files(tmp_path / "two")
    assert read(tmp_path / "two" / "train") == ROWS
    arrow.unlink()
    with pytest.raises(InputError, match=r"\.arrow is not here"):
        search_files(tmp_path / "one")


def test_a_cache_of_the_library_is_read_without_what_map_left_there(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    for name in ("set-train.arrow", "cache-9.arrow"):
        with pa.OSFile(str(tmp_path / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    (tmp_path / "dataset_info.json").write_text("{}")
    assert read(tmp_path) == ROWS


def test_a_link_to_nothing_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").symlink_to(".git/annex/objects/x")
    for path in (tmp_path, tmp_path / "a.jsonl"):
        with pytest.raises(InputError, match=r"a link to a file that is not.*git annex get"):
            search_files(path)


def test_gaps_of_arrow_and_pandas_are_null(tmp_path: Path) -> None:
    table = pa.table(
        {"prompt": ["a", None], "margin": pa.array([float("nan"), 2.0]), "votes_chosen": [1.0, float("nan")]}
    )
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    pd.DataFrame({"prompt": ["a", None], "margin": [None, 2.0], "votes_chosen": [1, None]}).to_parquet(
        tmp_path / "b.parquet"
    )
    rows = [{"prompt": "a", "margin": None, "votes_chosen": 1.0}, {"prompt": None, "margin": 2.0, "votes_chosen": None}]
    assert read(tmp_path / "a.parquet") == read(tmp_path / "b.parquet") == rows
