"""What is computed once is read again, whole or not at all."""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest

from rlhf_core.data.array_cache import cached, content_key

VALUES = np.linspace(-3.0, 3.0, 50, dtype=np.float32)


class Count:
    """Computes, and counts how often."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> np.ndarray:
        self.calls += 1
        return VALUES


def test_a_kept_array_is_not_computed_again(tmp_path: Path) -> None:
    count = Count()
    first, again = (cached(tmp_path / "model" / "pairs.npy", count) for _ in range(2))
    assert count.calls == 1
    assert first.dtype == again.dtype == np.float32
    assert np.array_equal(first, VALUES) and np.array_equal(again, VALUES)


def test_without_a_file_everything_is_computed() -> None:
    count = Count()
    assert [cached(None, count) is VALUES for _ in range(2)] == [True, True]
    assert count.calls == 2


DAMAGES = {
    "cut": lambda content: content[:-5],
    "empty": lambda content: b"",
    "header": lambda content: content[1:],
    "checksum": lambda content: content[:-1] + bytes([content[-1] ^ 128]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_computed_again_with_a_warning(tmp_path: Path, damage: str) -> None:
    path, count = tmp_path / "pairs.npy", Count()
    cached(path, count)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.warns(UserWarning, match=r"pairs.npy is damaged"):
        assert np.array_equal(cached(path, count), VALUES)
    assert count.calls == 2
    assert np.array_equal(cached(path, count), VALUES)
    assert count.calls == 2  # the file is whole again


def test_a_flipped_bit_is_noticed() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, count = Path(folder) / "pairs.npy", Count()
        cached(path, count)
        content = path.read_bytes()
        path.write_bytes(content[:150] + bytes([content[150] ^ 1]) + content[151:])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert np.array_equal(cached(path, count), VALUES)
        assert count.calls == 2


def test_numpy_reads_the_file_and_nothing_else_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    cached(folder / "pairs.npy", Count())
    assert np.array_equal(np.load(folder / "pairs.npy"), VALUES)
    assert [path.name for path in folder.iterdir()] == ["pairs.npy"]


def test_what_fails_leaves_no_file(tmp_path: Path) -> None:
    def fail() -> np.ndarray:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        cached(tmp_path / "kept" / "pairs.npy", fail)
    assert not list(tmp_path.rglob("pairs*"))


def test_a_key_changes_with_every_part_and_with_nothing_else() -> None:
    trees = [([1, 2], [[3], [4, 5]]), ([6], [[7], [8]])]
    key = content_key(trees, "float32", 1.0)
    assert key == content_key([([1, 2], [[3], [4, 5]]), ([6], [[7], [8]])], "float32", 1.0)
    others = [
        content_key([([1, 2], [[3], [4, 6]]), trees[1]], "float32", 1.0),
        content_key([([1, 2, 3], [[], [4, 5]]), trees[1]], "float32", 1.0),
        content_key(trees[::-1], "float32", 1.0),
        content_key(trees, "bfloat16", 1.0),
        content_key(trees, "float32", 0.7),
    ]
    assert len({key, *others}) == 6
