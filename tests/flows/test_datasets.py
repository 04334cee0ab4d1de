from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.datasets import (
    SPLITS,
    EmptySplit,
    Shares,
    SnapshotDamaged,
    content_digest,
    read_split,
    read_verified,
    split_by_group,
    write_snapshot,
)

SHARES = Shares(test=0.2, judge=0.3)


def table(groups: int = 60, copies: int = 2) -> pd.DataFrame:
    rows = [
        {"prompt": f"question {g}, put {c}", "group": f"question {g}", "source": "made up"}
        for g in range(groups)
        for c in range(copies)
    ]
    return pd.DataFrame(rows)


def test_a_group_lies_in_one_split_and_every_split_gets_about_its_share() -> None:
    divided = split_by_group(table(groups=4000), SHARES, judge=True)
    assert divided.groupby("group")["split"].nunique().max() == 1
    shares = divided["split"].value_counts(normalize=True)
    assert shares.to_dict() == pytest.approx({"test": 0.2, "judge": 0.3, "train": 0.5}, abs=0.03)


def test_adding_rows_moves_no_row() -> None:
    before = split_by_group(table(groups=60), SHARES, judge=True)
    after = split_by_group(table(groups=600), SHARES, judge=True)
    assert after.set_index("prompt")["split"].loc[before["prompt"]].tolist() == before["split"].tolist()


def test_what_is_held_out_of_one_table_is_held_out_of_a_table_without_a_judge() -> None:
    with_judge = split_by_group(table(), SHARES, judge=True)["split"]
    without = split_by_group(table(), SHARES, judge=False)["split"]
    assert without.tolist() == with_judge.replace("judge", "train").tolist()


def test_an_empty_split_is_refused_by_name() -> None:
    with pytest.raises(EmptySplit, match="have no row: 1 groups are too few"):
        split_by_group(table(groups=1), SHARES, judge=True)


def test_shares_must_leave_something_to_train_on() -> None:
    with pytest.raises(ValueError, match="sum to less than 1"):
        Shares(test=0.5, judge=0.5)


@given(st.permutations(range(12)))
def test_digest_ignores_the_order_of_rows(order: list[int]) -> None:
    frame = table(groups=6)
    assert content_digest(frame.iloc[order]) == content_digest(frame)


def test_digest_ignores_the_order_of_columns_and_the_storage_of_counts() -> None:
    frame = table().assign(votes_chosen=1)
    assert content_digest(frame[sorted(frame.columns)]) == content_digest(frame)
    assert content_digest(frame.astype({"votes_chosen": "float64"})) == content_digest(frame)
    assert content_digest(frame.astype(object)) == content_digest(frame)


def test_digest_sees_content_moved_between_cells_rows_and_copies() -> None:
    frame = pd.DataFrame({"prompt": ["ab", "c"], "group": ["x", "y"]})
    others = [
        pd.DataFrame({"prompt": ["a", "c"], "group": ["bx", "y"]}),
        pd.DataFrame({"prompt": ["c", "ab"], "group": ["x", "y"]}),
        pd.DataFrame({"prompt": ["ab", "c", "c"], "group": ["x", "y", "y"]}),
        pd.DataFrame({"group": ["ab", "c"], "prompt": ["x", "y"]}),
        frame.rename(columns={"group": "source"}),
    ]
    assert content_digest(frame) not in {content_digest(other) for other in others}


def test_snapshot_can_be_read_back_by_split(tmp_path: Path) -> None:
    divided = split_by_group(table(), SHARES, judge=True)
    snapshot = write_snapshot(divided, name="prompts", directory=tmp_path)
    assert snapshot.rows == len(divided) == sum(snapshot.split_rows.values())
    assert snapshot.digest == content_digest(divided)
    parts = {split: read_split(snapshot, split) for split in SPLITS}
    assert sorted(pd.concat(parts.values())["prompt"]) == sorted(divided["prompt"])
    assert {split: len(part) for split, part in parts.items()} == snapshot.split_rows
    with pytest.raises(ValueError, match="no split is called 'dev'"):
        read_split(snapshot, "dev")


def test_the_file_does_not_depend_on_the_order_of_the_input(tmp_path: Path) -> None:
    divided = split_by_group(table(), SHARES, judge=True)
    first = write_snapshot(divided, name="prompts", directory=tmp_path / "a")
    second = write_snapshot(divided.iloc[::-1], name="prompts", directory=tmp_path / "b")
    assert first.path.read_bytes() == second.path.read_bytes()


def test_the_same_content_is_written_once(tmp_path: Path) -> None:
    divided = split_by_group(table(), SHARES, judge=True)
    first = write_snapshot(divided, name="prompts", directory=tmp_path)
    written = first.path.stat().st_mtime_ns
    assert write_snapshot(divided, name="prompts", directory=tmp_path) == first
    assert first.path.stat().st_mtime_ns == written
    assert [path.name for path in first.path.parent.iterdir()] == [first.path.name]


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_half_way(self: pd.DataFrame, file: object, **_: object) -> None:
        file.write(b"PAR1")  # type: ignore[attr-defined]
        raise OSError("no space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", fail_half_way)
    with pytest.raises(OSError, match="no space left"):
        write_snapshot(split_by_group(table(), SHARES, judge=True), name="prompts", directory=tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_write_that_loses_a_row_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = pd.DataFrame.to_parquet
    monkeypatch.setattr(pd.DataFrame, "to_parquet", lambda self, file, index: honest(self.iloc[1:], file, index=index))
    with pytest.raises(SnapshotDamaged, match="content digest"):
        write_snapshot(split_by_group(table(), SHARES, judge=True), name="prompts", directory=tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_changed_or_truncated_file_is_noticed(tmp_path: Path) -> None:
    divided = split_by_group(table(), SHARES, judge=True)
    snapshot = write_snapshot(divided, name="prompts", directory=tmp_path)
    snapshot.path.chmod(0o644)
    content = snapshot.path.read_bytes()
    snapshot.path.write_bytes(content[: len(content) // 2])
    with pytest.raises(SnapshotDamaged, match="not a readable Parquet file"):
        read_verified(snapshot.path, snapshot.digest)
    divided.assign(prompt="something else").to_parquet(snapshot.path, index=False)
    with pytest.raises(SnapshotDamaged, match="delete it and ingest again"):
        write_snapshot(divided, name="prompts", directory=tmp_path)
    with pytest.raises(FileNotFoundError):
        read_verified(tmp_path / "absent.parquet", snapshot.digest)
