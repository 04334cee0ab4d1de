"""What decides a stage of a model from elsewhere is what it is, whatever it is called and wherever it lies."""

from datetime import date
from pathlib import Path

import pytest

from flows.config.folders import shown_path
from flows.config.pretrained import FolderBase, FolderModel, GGUFBase, HubBase
from flows.config.reward_model import RewardModelSettings
from flows.registry.keys import content_key
from rlhf_core.config import Frozen

DIGEST, OTHER = "a" * 64, "b" * 64
COMMIT, LATER = "a" * 40, "b" * 40


def key(config: Frozen) -> str:
    return content_key("base", config, {}, 0)


def test_a_key_covers_content_and_not_place() -> None:
    here, there = (FolderBase(path=Path(path), digest=DIGEST) for path in ("/here", "/there"))
    assert key(here) == key(there)
    assert key(here) != key(FolderBase(path=Path("/here"), digest=OTHER))
    assert key(here) != key(FolderBase(path=Path("/here"), digest=DIGEST, date=date(2026, 11, 29)))
    files = [GGUFBase(path=Path(path), file="model.gguf", digest=DIGEST) for path in ("/here", "/there")]
    assert len({*map(key, files), key(here)}) == 2


def test_a_key_covers_the_commit_and_not_the_branch() -> None:
    by_branch = HubBase(model="someone/model", revision="main", commit=COMMIT)
    assert key(by_branch) == key(HubBase(model="someone/model", revision=COMMIT))
    assert key(by_branch) != key(HubBase(model="someone/model", revision="main", commit=LATER))


def test_a_key_covers_a_model_within_a_section() -> None:
    here, there = (
        RewardModelSettings(source=FolderModel(path=Path(path), digest=DIGEST)) for path in ("/here", "/there")
    )
    assert key(here) == key(there)
    assert here.model_dump(mode="json") != there.model_dump(mode="json")  # what is recorded has the place


def test_a_folder_is_shown_as_a_person_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "team").mkdir()
    (tmp_path / "disk" / "team").mkdir(parents=True)
    (tmp_path / "linked").symlink_to(tmp_path / "disk" / "team")
    monkeypatch.chdir(tmp_path / "team")
    assert FolderBase(path=Path("../model")).path == tmp_path / "model"
    assert shown_path(Path("../team/./pairs.csv")) == "../team/pairs.csv"
    assert shown_path(tmp_path / "team" / "more" / ".." / "pairs.csv") == "pairs.csv"
    through = tmp_path / "linked" / ".." / "model"  # which lies on the disk
    assert FolderBase(path=through).path == through and shown_path(through) == str(through)
