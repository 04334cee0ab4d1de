"""Every kind of bad input, really injected: one message with place and mend, exit code 2, nothing left behind."""

import gzip
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from flows.cli import app
from flows.cli.common import quietly
from flows.config.data import ContractConfig, FileData, FileSource, Shares
from flows.config.errors import InputError
from flows.data.file_search import find_files
from flows.data.files import read_file, read_hub
from flows.data.quarantine import RowsRefused
from flows.data.refusal import DataRefused
from flows.data.sources import open_sources, typed_paths
from flows.data.step_timer import Clock
from flows.data.tables import make_tables

SECRET = "zebra umbrella"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 16200131\n"
GOOD = [{"prompt": f"How do I mend part {i}?", "chosen": f"Turn {i} off.", "rejected": f"No {i}."} for i in range(400)]


def test_data_that_are_refused_end_with_what_to_type_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    data = {"kind": "files", "preferences": [{"path": "./of us/../pairs.csv"}], "prompts": [{"path": "./a b.csv"}]}
    paths = typed_paths(FileData.model_validate(data), ["preferences", "prompts"])
    with pytest.raises(typer.Exit) as end, quietly("../ladder.yaml --set seed=3"):
        raise DataRefused((ValueError("no row is sound"),), paths)
    assert end.value.exit_code == 2
    assert capsys.readouterr().err.splitlines()[-4:] == [
        "Next:",
        "  rlhf data inspect pairs.csv  # which rows break which rule",
        "  rlhf data inspect 'a b.csv'  # which rows break which rule",
        "  rlhf ingest ../ladder.yaml --set seed=3  # once they are mended, or allowed in `contract`",
    ]


def lines(rows: list[Any]) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


def changed(number: int, **cells: Any) -> bytes:
    """Good rows, of which one has other cells."""
    rows = [dict(row) for row in GOOD]
    rows[number - 1] |= cells
    return lines(rows)


def without(number: int, field: str) -> bytes:
    rows = [dict(row) for row in GOOD]
    del rows[number - 1][field]
    return lines(rows)


def swapped(row: dict[str, str]) -> dict[str, str]:
    return {**row, "chosen": row["rejected"], "rejected": row["chosen"]}


def parquet(path: Path) -> None:
    frame = pd.DataFrame(GOOD)
    frame.loc[4, "chosen"] = float("nan")
    frame.to_parquet(path)


def scores_with_commas(path: Path) -> None:
    pd.DataFrame([{**row, "score_chosen": "8,5", "score_rejected": "3"} for row in GOOD]).to_csv(path, index=False)


def csv_in_latin_1(path: Path) -> None:
    pd.DataFrame([*GOOD[:4], {**GOOD[4], "chosen": "caf\xe9"}]).to_csv(path, index=False, encoding="latin-1")


def csv_with_a_lost_quote(path: Path) -> None:
    path.write_text('prompt,chosen,rejected\na,b,c\n"d,e,f\n')


BAD: dict[str, tuple[str, bytes | Callable[[Path], Any], str]] = {
    "truncated gzip": ("a.jsonl.gz", gzip.compress(lines(GOOD))[:-200], r"is damaged after row \d+ .*: fetch it again"),
    "no gzip": ("a.jsonl.gz", b"plain text", r"is not gzipped: let its name end without .gz"),
    "invalid UTF-8": (
        "a.jsonl",
        lines(GOOD[:2]) + b'\n{"prompt": "\xff"}',
        r" row 3: is not UTF-8 at byte 13: convert",
    ),
    "missing key": ("a.jsonl", without(3, "rejected"), r" row 3, field rejected: is missing"),
    "wrong keys": ("a.jsonl", lines([{"zebra": SECRET}]), r" row 1: no known format has the fields zebra; name one"),
    "mixed types": ("a.jsonl", changed(5, chosen=True), r" row 5, field chosen: chosen is not a string"),
    "a list for a text": ("a.jsonl", changed(5, prompt=[SECRET]), r" row 5, field prompt: is not a list of objects"),
    "arrays as rows": ("a.jsonl", lines([GOOD[:2], GOOD[:2]]), r" after row 2: something follows the array: mend"),
    "not JSON": ("a.jsonl", lines(GOOD[:1]) + b'\n{"zebra umbrella"', r" row 2: is not JSON .*: mend the row"),
    "a JSON scalar": ("a.jsonl", b"5", r" row 1: is not a JSON object: write one object per line"),
    "an object over several lines": (
        "a.json",
        b'{\n"prompt": 1}',
        r" row 1: is not JSON .*one object a line, or one arr",
    ),
    "an array cut short": ("a.json", json.dumps(GOOD).encode()[:-9], r" row 400: is not JSON .*: mend the row"),
    "an array without its end": ("a.json", json.dumps(GOOD).encode()[:-1], r" after row 400: is neither a comma nor"),
    "an array without a comma": (
        "a.json",
        json.dumps(GOOD).replace("}, {", "} {", 1).encode(),
        r" after row 1: is neither a comma",
    ),
    "a scalar in an array": ("a.json", b'[{"prompt": "a"}, 5]', r" row 2: is not a JSON object: mend the row"),
    "two arrays": ("a.json", json.dumps(GOOD).encode() * 2, r" after row 400: something follows the array: mend"),
    "a 50 MB object": ("a.json", b'[{"prompt": "' + b"x" * 50_000_000 + b'"}]', r" row 1: is not JSON .*than 10 MB"),
    "an array that is not UTF-8": ("a.json", b'[{"prompt": "\xff"}]', r" row 1: is not UTF-8 at byte 13: convert"),
    "an array nested too deeply": ("a.json", b"[" + b'{"a":' * 99_999, r" row 1: is nested too deeply: mend"),
    "a truncated array": ("a.json.gz", gzip.compress(json.dumps(GOOD).encode())[:-200], r"is damaged after row \d+"),
    "empty file": ("a.jsonl", b"", r" is empty: fetch or export it again"),
    "empty array": ("a.json", b"[]", r" holds no row: fetch or export it again"),
    "blank lines": ("a.jsonl", b"\n\n", r" holds no row: fetch or export it again"),
    "a 50 MB line": (
        "a.jsonl",
        changed(2, chosen="x" * 50_000_000),
        r" row 2: has more than 10 MB, .*: look for a lost line",
    ),
    "NaN": ("a.jsonl", changed(7, chosen=float("nan")), r" row 7, field chosen: chosen is not a string"),
    "NaN votes": ("a.jsonl", changed(7, votes_chosen=float("nan")), r" row 7, field votes_chosen: .*whole number"),
    "ten thousand identical rows": ("a.jsonl", lines(GOOD[:1] * 10_000), r"9999 of 10000 .*\n.*not_repeated \(9999\)"),
    "contradictions": ("a.jsonl", lines([*GOOD, *map(swapped, GOOD)]), r"800 of 800 .*\n.*not_contradicted \(800\)"),
    "no Parquet": ("a.parquet", b"PAR1 and more", r" is damaged after row 0 .*: fetch it again"),
    "a gap in Parquet": ("a.parquet", parquet, r" row 5, field chosen: is missing"),
    "invalid UTF-8 in gzip": ("a.jsonl.gz", gzip.compress(b'{"prompt": "\xff"}'), r" row 1: is not UTF-8 at byte 13"),
    "a number of 5000 digits": ("a.jsonl", b'{"prompt": ' + b"1" * 5000 + b"}", r" row 1: holds a number that nothing"),
    "a pointer of Git LFS": ("a.parquet", LFS, r" is a Git LFS pointer .*: run `git lfs pull`"),
    "a pointer of Git LFS for gzip": ("a.json.gz", LFS, r" is a Git LFS pointer .*: run `git lfs pull`"),
    "a pointer of git-annex": (
        "a.csv",
        b"/annex/objects/SHA256E-s9--ab.csv\n",
        r" is a git-annex pointer .*`git annex get",
    ),
    "a web page": ("a.jsonl", b"\n<!DOCTYPE html><html>", r" is a web page and not data: fetch the file itself"),
    "a spreadsheet": ("a.csv", b"PK\x03\x04 and more", r" is a ZIP archive or a spreadsheet"),
    "Parquet under another name": ("a.jsonl", b"PAR1 and more", r" is Parquet: let its name end with \.parquet"),
    "gzip under another name": ("a.csv", gzip.compress(lines(GOOD)), r" is gzipped: let its name end with \.gz"),
    "gzip of nothing": ("a.jsonl.gz", gzip.compress(b""), r" holds no row: fetch or export it again"),
    "decimal commas": ("a.csv", scores_with_commas, r" row 1, field score_chosen: is not a number"),
    "half a vote": ("a.jsonl", changed(3, votes_chosen="3.5"), r" row 3, field votes_chosen: .*whole number"),
    "a vote without end": ("a.jsonl", changed(3, votes_chosen=1e30), r" row 3, field votes_chosen: .*whole number"),
    "a margin below 0": (
        "a.jsonl",
        changed(3, margin="-1"),
        r" row 3, field grade: grade is not a number of at least 0",
    ),
    "a NaN for a score": (
        "a.jsonl",
        changed(3, score_chosen=float("nan"), score_rejected=1),
        r" row 3, field score_chosen: is not a number",
    ),
    "scores the wrong way round": (
        "a.jsonl",
        lines([{**row, "score_chosen": 1, "score_rejected": "2"} for row in GOOD]),
        r"400 of 400 .*\n.*scores_favour_chosen \(400\)\. Mend: swap the two responses",
    ),
    "CSV in Latin-1": ("a.csv", csv_in_latin_1, r" row 5, field chosen: is not UTF-8 at byte 4: convert"),
    "CSV with a lost quotation mark": (
        "a.csv",
        csv_with_a_lost_quote,
        r" row 2 \(from line 3\): is not CSV .*: mend its quot",
    ),
    "another ending": ("a.txt", lines(GOOD), r": has none of the endings .*: rename it"),
}


def check_preferences(path: Path, work: Path) -> None:
    """What ingestion does with the pairs of a file, without Prefect around it."""
    reads = open_sources(FileData(preferences=(FileSource(path=str(path)),)), seed=0)
    tables = make_tables(reads, Shares(test=0.3, judge=0.3), ContractConfig(), folder=work, clock=Clock())
    for problem in tables["preferences"].problems():
        raise problem


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "ingest.yaml"
    path.write_text("project: bad-input\ndata: {kind: files}\n")
    return path


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_by_place_and_mend(name: str, tmp_path: Path) -> None:
    file, content, message = BAD[name]
    path = tmp_path / file
    path.write_bytes(content) if isinstance(content, bytes) else content(path)
    with pytest.raises((InputError, RowsRefused), match=message) as refused:
        check_preferences(path, tmp_path / "work")
    assert file in str(refused.value)
    assert SECRET not in str(refused.value) and "mend part" not in str(refused.value)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["truncated gzip", "missing key", "ten thousand identical rows"])
def test_the_command_ends_with_2_and_leaves_nothing_behind(name: str, tmp_path: Path, rlhf: Any, config: Path) -> None:
    file, content, _ = BAD[name]
    assert isinstance(content, bytes)
    (tmp_path / file).write_bytes(content)
    storage = tmp_path / "storage"
    sources = json.dumps([{"path": str(tmp_path / file)}])
    done = rlhf("ingest", config, "--set", f"storage={storage}", "--set", f"data.preferences={sources}")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and file in done.stderr and "Traceback" not in done.stderr
    folders = [storage / name for name in ("work", "snapshots", "ingests", "artifacts")]
    left = [path.name for folder in folders for path in folder.rglob("*") if path.suffix != ".lock"]
    assert left == []


def test_inspection_ends_with_2_too(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines([{"zebra": SECRET}]))
    done = CliRunner().invoke(app, ["data", "inspect", str(path)])
    assert done.exit_code == 2 and "no known format has the fields zebra" in done.stderr


@pytest.mark.parametrize("closed", ["folder", "file"])
def test_a_folder_or_file_that_may_not_be_read_is_named(closed: str, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(lines(GOOD))
    place = folder if closed == "folder" else folder / "a.jsonl"
    mode = place.stat().st_mode
    place.chmod(0o000)
    try:
        refused = as_nobody(tmp_path, lambda: reading(place))
    finally:
        place.chmod(mode)
    assert refused is not None and re.search("may not be (listed|read).*give this user the right", refused)


def reading(path: Path) -> list[Any]:
    return [row for file in find_files(path) for row in read_file(file, file.name)]


def as_nobody(folder: Path, action: Callable[[], Any]) -> str | None:
    """What an action is refused with for a user without rights; root, who may read anything, becomes nobody for it."""
    opened = [folder, *folder.parents]
    modes = {path: path.stat().st_mode for path in opened if os.geteuid() == 0}
    try:
        if os.geteuid() == 0:
            for path in modes:
                path.chmod(modes[path] | 0o555)
            os.seteuid(65534)
        action()
    except InputError as error:
        return str(error)
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
            for path, mode in modes.items():
                path.chmod(mode)
    return None


def test_paths_without_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist: check the path"):
        find_files(tmp_path / "absent.jsonl")
    with pytest.raises(InputError, match="does not exist: check the path"):
        find_files(tmp_path / "*.jsonl")
    with pytest.raises(InputError, match=r"holds no \.jsonl, .* file, but \w+: check the path"):
        find_files(tmp_path)


def test_a_hub_id_that_does_not_resolve_is_named() -> None:
    with pytest.raises(InputError, match=r"cannot be reached .* lacks data set nobody/nothing@00000000: unset it$"):
        list(read_hub("nobody/nothing", revision="0" * 40, split="train", data_dir=None))


def test_good_rows_come_in_every_format_with_their_numbers(tmp_path: Path) -> None:
    frame = pd.DataFrame(GOOD)
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "b.csv.gz", index=False)
    (tmp_path / "a.jsonl").write_bytes(lines(GOOD))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines(GOOD)))
    (tmp_path / "a.json").write_bytes(json.dumps(GOOD).encode())
    for path in find_files(tmp_path):
        rows = list(read_file(path, path.name))
        assert [row.number for row in rows] == list(range(1, len(GOOD) + 1)), path
        assert [row.row for row in rows] == GOOD, path
    assert len(find_files(tmp_path)) == 6


def test_text_of_any_alphabet_survives_every_format(tmp_path: Path) -> None:
    rows = [
        {"prompt": "caf\xe9 \u65e5\u672c \U0001f600 a\u2028b\x85c", "chosen": 'a "quoted",\nline', "rejected": "NaN"}
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "a.csv", index=False)
    pd.DataFrame(rows).to_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.jsonl").write_text(json.dumps(rows[0], ensure_ascii=False), encoding="utf-8")
    for path in find_files(tmp_path):
        assert [row.row for row in read_file(path, path.name)] == rows, path


def test_a_json_array_is_read_row_by_row_wherever_its_chunks_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"prompt": "caf\xe9 \U0001f600 ] , [ \\", "turns": [number, {}]} for number in range(9)]
    for indent in (None, 2):
        path = tmp_path / "a.json"
        path.write_text(json.dumps(rows, ensure_ascii=False, indent=indent) + "\n\n", encoding="utf-8")
        for size in (1, 7, 50):
            monkeypatch.setattr("flows.data.json_array.CHUNK_CHARACTERS", size)
            read = read_file(path, path.name)
            assert next(read).number == 1
            assert [row.row for row in read] == rows[1:]
