"""A folder for a while is empty whatever a process that was killed left in it, and goes however its work ends."""

from pathlib import Path

import pytest

from flows.storage.scratch import scratch


def test_what_was_left_goes_first_and_all_goes_at_the_end(tmp_path: Path) -> None:
    left = tmp_path / "work" / "key.part" / "half"
    left.parent.mkdir(parents=True)
    left.write_text("half")
    with pytest.raises(ValueError, match="no"), scratch(tmp_path / "work", "key") as folder:
        assert list(folder.iterdir()) == []
        (folder / "more").write_text("more")
        raise ValueError("no")
    assert list((tmp_path / "work").iterdir()) == []
