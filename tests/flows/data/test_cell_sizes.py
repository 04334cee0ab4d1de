"""How large cells are, of every kind that Arrow has; and that little Parquet which unpacks to much is bounded."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.config.errors import InputError
from flows.data import row_groups
from flows.data.cell_sizes import LEAST, MOST, cell_sizes
from flows.data.files import read_file
from flows.data.parquet_pages import read_pages

WORDS = ["a", "b" * 20, None, "c" * 30]
SIZES = [LEAST, 20, LEAST, 30]

REPEATED = pa.RunEndEncodedArray.from_arrays(pa.array([1, 4], pa.int32()), pa.array(["a", "b" * 20]))
UNION = pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array(["a" * 20] * 2), pa.array([1, 2])])


@pytest.mark.parametrize(
    ("column", "sizes"),
    [
        *((pa.array(WORDS, kind), SIZES) for kind in (pa.string(), pa.large_string(), pa.string_view())),
        *((pa.array(WORDS).cast(kind), SIZES) for kind in (pa.binary(), pa.large_binary(), pa.binary_view())),
        (pa.array(WORDS).dictionary_encode(), SIZES),
        (pa.array([b"x" * 50] * 2, pa.binary(50)), [50, 50]),
        (pa.array([1, None], pa.int64()), [LEAST, LEAST]),
        (pa.array([{"a": "x" * 50, "b": 1}, None]), [2 * LEAST + 50, 3 * LEAST]),
        *(
            (pa.array([["x" * 50, None], [], None, ["a"]], kind), [2 * LEAST + 50, LEAST, LEAST, 2 * LEAST])
            for kind in (pa.list_(pa.string()), pa.large_list(pa.string()), pa.list_view(pa.string()))
        ),
        (pa.array([["x" * 50, "y"], ["a", "b"]], pa.list_(pa.string(), 2)), [2 * LEAST + 50, 3 * LEAST]),
        (pa.array([[("k", "x" * 50)], None], pa.map_(pa.string(), pa.string())), [3 * LEAST + 50, LEAST]),
        (pa.array([[["x" * 50]], [["a"], ["b"]]]), [2 * LEAST + 50, 5 * LEAST]),
        (REPEATED, [20] * 4),
        (UNION, [20, 20]),
        (pa.array([], pa.list_(pa.string())), []),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)  # fmt: skip
def test_a_cell_has_the_bytes_of_all_that_is_nested_in_it(column: pa.Array, sizes: list[int]) -> None:
    assert cell_sizes(column).tolist() == sizes
    assert cell_sizes(column.slice(1)).tolist() == sizes[1:]


def test_a_billion_nulls_in_a_list_are_counted_without_a_byte_for_each() -> None:
    nulls = pa.FixedSizeListArray.from_arrays(pa.nulls(2**31 - 1), 2**31 - 1)
    assert cell_sizes(nulls).tolist() == [MOST]
    assert cell_sizes(pa.ListArray.from_arrays(pa.array([0, 1, 1000], pa.int32()), pa.nulls(1000)))[1] == 1000 * LEAST


def repeated(text: str, times: int, *others: str) -> pa.Array:
    """A text that stands in its dictionary once, after others."""
    return pa.DictionaryArray.from_arrays(pa.array([0] * times, pa.int32()), pa.array([text, *others]))


def test_pages_are_told_by_their_headers(tmp_path: Path) -> None:
    columns = {"plain": [f"{number} {'x' * 1000}" for number in range(3000)], "words": ["a", "b" * 500, "c"] * 1000}
    for version in ("1.0", "2.0"):
        pq.write_table(pa.table(columns), tmp_path / "a.parquet", use_dictionary=["words"], data_page_version=version)
        with pq.ParquetFile(tmp_path / "a.parquet") as file, (tmp_path / "a.parquet").open("rb") as pages:
            plain, words = (read_pages(pages, file.metadata.row_group(0).column(index)) for index in range(2))
        assert (plain.words, plain.dictionary) == (0, 0) and 1e6 < plain.largest < 2.1e6
        assert (words.words, words.dictionary) == (3000, 502 + 3 * 4) and words.largest < 2000


MESSAGES = "prompt.list.element.content"
BOUNDED: dict[str, tuple[Any, str]] = {
    "a dictionary": ([repeated("x" * 9_000_000, 60)], "60"),
    "a dictionary of messages, one each": (
        [pa.ListArray.from_arrays(pa.array(range(61), pa.int32()), repeated("x" * 9_000_000, 60, "y"))],
        "60",
    ),
    "all of it in one row": (
        [pa.ListArray.from_arrays(pa.array([0, 1, 1000], pa.int32()), repeated("x" * 9_000_000, 1000, "y"))],
        ".parquet row 2, field prompt: a cell has 2,147 MB, more than the 10 MB of any sensible one: shorten it, or",
    ),
    "a map": (
        [
            pa.MapArray.from_arrays(
                pa.array([0, 1, 1000], pa.int32()), pa.array(map(str, range(1000))), repeated("x" * 9_000_000, 1000)
            )
        ],
        ".parquet row 2, field prompt: a cell has 2,147 MB, more than",
    ),
    "a long text in a struct": (
        [pa.array([[{"content": "x" * 30_000_000}]])],
        f".parquet, field {MESSAGES}: a cell has 30 MB, more than the 10 MB",
    ),
    "a list of nulls": (
        [pa.ListArray.from_arrays(pa.array([0, 20_000_000], pa.int32()), pa.nulls(20_000_000, pa.int8()))],
        ".parquet, field prompt.list.element: a cell has 160 MB, more than",
    ),
}  # fmt: skip

READ = """
import resource, sys
from pathlib import Path
from flows.config.errors import InputError
from flows.data import columnar, row_groups
from flows.data.files import read_file
row_groups.MOST_BYTES = columnar.PYTHON_BYTES = 30_000_000
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in map(Path, sys.argv[1:]):
    try:
        print(sum(1 for _ in read_file(path, path.name)))
    except InputError as error:
        print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_little_files_that_unpack_to_gigabytes_take_little_memory(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.parquet" for number in range(len(BOUNDED))]
    for path, (columns, _) in zip(paths, BOUNDED.values(), strict=True):
        pq.write_table(pa.table(columns, names=["prompt"]), path, compression="zstd", store_schema=False)
        assert path.stat().st_size < 50_000
    done = subprocess.run([sys.executable, "-c", READ, *map(str, paths)], capture_output=True, text=True, check=True)
    *said, mebibytes = done.stdout.splitlines()
    for line, (bomb, (_, expected)) in zip(said, BOUNDED.items(), strict=True):
        assert expected in line, bomb
    assert int(mebibytes) < 250


def test_pages_that_would_fill_the_memory_together_are_refused_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {"little": ["a"] * 1000, "much": [f"{number} {'x' * 1000}" for number in range(1000)]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet", use_dictionary=False)
    monkeypatch.setattr(row_groups, "MOST_HELD", 10**6)
    with pytest.raises(
        InputError, match=r"^a\.parquet: a page of each column has 0 GB together, most of it in field much"
    ):
        next(read_file(tmp_path / "a.parquet", "a.parquet"))


def test_nested_texts_that_are_packed_to_harm_are_refused_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {"prompt": [["x" * 1000] * 1000] * 20}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet", use_dictionary=False, compression="zstd")
    monkeypatch.setattr(row_groups, "MOST_HELD", 5 * 10**6)
    with pytest.raises(
        InputError, match=r"field prompt\.list\.element: 0 GB are packed to a [0-9,]+th, as no sensible"
    ):
        next(read_file(tmp_path / "a.parquet", "a.parquet"))


def test_a_file_whose_pages_have_no_headers_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"prompt": ["a" * 1000]}), path, use_dictionary=False, compression="none")
    content = bytearray(path.read_bytes())
    for fill in (0x00, 0xFF, 0x1C):
        content[4:40] = bytes([fill]) * 36
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"^a\.parquet is damaged after row 0 .*: fetch it again"):
            next(read_file(path, "a.parquet"))
