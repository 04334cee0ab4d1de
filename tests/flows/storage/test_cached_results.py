"""A cached result is reused while it is intact, and made again by one at a time where it is not."""

import threading
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from flows.storage.cached_results import intact_result, reuse_or_remake, sealed, unsealed
from flows.storage.locks import is_held


class Made(BaseModel):
    text: str
    number: int


class Work:
    """Stands for a cached task: says what it kept, unless it is to refresh."""

    def __init__(self, storage: Path) -> None:
        self.storage = storage
        self.kept: dict[str, dict[str, Any]] = {}
        self.number = 0
        self.locked: list[bool] = []
        self.inside = threading.Lock()

    def __call__(self, key: str, text: str, refresh: bool = False) -> dict[str, Any]:
        assert self.inside.acquire(blocking=False)  # nobody else is in here
        lock = self.storage / "work" / f"{key}.lock"
        self.locked.append(lock.exists() and is_held(lock))
        if refresh or key not in self.kept:
            self.number += 1
            self.kept[key] = sealed(Made(text=text, number=self.number))
        self.inside.release()
        return self.kept[key]

    def with_options(self, *, refresh_cache: bool) -> Any:
        return lambda key, text: self(key, text, refresh=refresh_cache)


@pytest.fixture
def work(tmp_path: Path) -> Any:
    return Work(tmp_path)


def test_an_intact_result_is_reused(work: Any, tmp_path: Path) -> None:
    made = [reuse_or_remake(tmp_path, work, Made, lambda _: True, "key", "text") for _ in range(2)]
    assert made == [Made(text="text", number=1)] * 2
    assert work.locked == [True, True]


def test_a_damaged_result_is_made_again_once(work: Any, tmp_path: Path) -> None:
    intact_result(work, Made, lambda _: True, "key", "text")
    assert intact_result(work, Made, lambda made: made.number > 7, "key", "text").number == 2
    assert reuse_or_remake(tmp_path, work, Made, lambda made: made.number == 2, "key", "text").number == 2
    assert work.locked == [False, False, False, True]


def test_a_changed_result_is_noticed() -> None:
    kept = sealed(Made(text="text", number=1))
    assert unsealed(Made, kept) == Made(text="text", number=1)
    assert unsealed(Made, kept | {"number": 2}) is None


@pytest.mark.parametrize("damage", [{"number": 8}, {"text": None}, {"more": 1}, {"seal": ""}])
def test_a_result_whose_file_has_changed_is_made_again(work: Any, tmp_path: Path, damage: dict[str, Any]) -> None:
    intact_result(work, Made, lambda _: True, "key", "text")
    work.kept["key"] |= damage
    with pytest.warns(UserWarning, match="the kept result key is damaged; it is made again"):
        assert intact_result(work, Made, lambda _: True, "key", "text") == Made(text="text", number=2)


def test_of_several_at_once_one_makes_it(work: Any, tmp_path: Path) -> None:
    def run() -> None:
        results.append(reuse_or_remake(tmp_path, work, Made, lambda _: True, "key", "text"))

    results: list[Made] = []
    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [Made(text="text", number=1)] * 8
