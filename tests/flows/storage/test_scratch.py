"""A folder for a while is empty whatever a process that was killed left in it, and goes however its work ends."""

from pathlib import Path

import pytest

from flows.storage.scratch import scratch


def break_off(folder: Path) -> None:
    with scratch(folder, "key") as work:
        assert list(work.iterdir()) == []
        (work / "more").write_text("more")
        raise ValueError("no")


def test_what_was_left_goes_first_and_all_goes_at_the_end(tmp_path: Path) -> None:
    work = tmp_path / "work"
    left = work / "key.part" / "half"
    left.parent.mkdir(parents=True)
    left.write_text("half")
    with pytest.raises(ValueError, match="no"):
        break_off(work)
    assert list(work.iterdir()) == []
