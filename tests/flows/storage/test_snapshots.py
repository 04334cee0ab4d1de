from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.config.data import Shares
from flows.data.splits import EmptySplit, check_splits, split_by_group
from flows.storage.content_digest import ContentDigest, RowDigest, TableDigest
from flows.storage.snapshots import SPLITS, Snapshot, SnapshotDamaged, SnapshotWriter, read_split, verify

SHARES = Shares(test=0.2, judge=0.3)


def table(groups: int = 60, copies: int = 2) -> pd.DataFrame:
    rows = [
        {"prompt": f"question {g}, put {c}", "group": f"question {g}", "source": "made up", "row": g * copies + c + 1}
        for g in range(groups)
        for c in range(copies)
    ]
    return pd.DataFrame(rows)


def divided(frame: pd.DataFrame, *, judge: bool = True) -> pd.DataFrame:
    return frame.assign(split=split_by_group(frame["group"].tolist(), SHARES, judge=judge))


def digest(*parts: pd.DataFrame, kind: type[TableDigest] = ContentDigest) -> str:
    whole = kind()
    for part in parts:
        whole.add(pa.Table.from_pandas(part, preserve_index=False))
    return whole.hexdigest()


def write(frame: pd.DataFrame, folder: Path) -> Snapshot:
    folder.mkdir(exist_ok=True)
    writer = SnapshotWriter(folder / "temporary")
    writer.add(frame.head(7))
    writer.add(frame.tail(-7))
    writer.close()
    return writer.publish("prompts", folder)


def test_a_group_lies_in_one_split_and_every_split_gets_about_its_share() -> None:
    frame = divided(table(groups=4000))
    assert frame.groupby("group")["split"].nunique().max() == 1
    shares = frame["split"].value_counts(normalize=True)
    assert shares.to_dict() == pytest.approx({"test": 0.2, "judge": 0.3, "train": 0.5}, abs=0.03)


def test_adding_rows_moves_no_row() -> None:
    before, after = divided(table(groups=60)), divided(table(groups=600))
    assert after.set_index("prompt")["split"].loc[before["prompt"]].tolist() == before["split"].tolist()


def test_what_is_held_out_of_one_table_is_held_out_of_a_table_without_a_judge() -> None:
    with_judge, without = divided(table()), divided(table(), judge=False)
    assert without["split"].tolist() == with_judge["split"].replace("judge", "train").tolist()


def test_an_empty_split_is_refused_by_name() -> None:
    check_splits({"train": 1, "test": 1}, judge=False)
    with pytest.raises(EmptySplit, match="judge have no row: there are too few groups"):
        check_splits({"train": 1, "test": 1}, judge=True)


def test_shares_must_leave_something_to_train_on() -> None:
    with pytest.raises(ValueError, match="sum to less than 1"):
        Shares(test=0.5, judge=0.5)


@pytest.mark.parametrize("kind", [ContentDigest, RowDigest])
@given(cut=st.integers(0, 20))
def test_digest_ignores_parts_the_order_of_columns_and_where_rows_come_from(kind: type[TableDigest], cut: int) -> None:
    frame = table(groups=10)
    other = frame[["source", "prompt", "row", "group"]].assign(source="elsewhere", row=range(20, 0, -1))
    assert digest(other.iloc[:cut], other.iloc[cut:], kind=kind) == digest(frame, kind=kind)


@pytest.mark.parametrize("kind", [ContentDigest, RowDigest])
def test_digest_sees_content_moved_between_cells_rows_and_copies(kind: type[TableDigest]) -> None:
    frame = pd.DataFrame({"prompt": ["ab", "c"], "group": ["x", "y"], "votes": [1, 2]})
    others = [
        frame.assign(prompt=["a", "bc"]),
        frame.assign(group=["y", "x"]),
        frame.assign(votes=[2, 1]),
        frame.assign(votes=["1", "2"]),
        frame.assign(prompt=["ab", None]),
        frame.assign(prompt=["ab", ""]),
        frame.iloc[[0, 1, 1]],
        frame.assign(prompt=frame["group"], group=frame["prompt"]),
        frame.rename(columns={"group": "split"}),
    ]
    assert len({digest(one, kind=kind) for one in (frame, *others)}) == 1 + len(others)


def test_digest_does_not_depend_on_how_texts_and_numbers_are_held() -> None:
    frame = pd.DataFrame({"prompt": ["ab", "", "é"], "votes": [1, 0, 2]})
    plain = pa.Table.from_pandas(frame, preserve_index=False)
    held = pa.table(
        {"prompt": plain["prompt"].cast(pa.string()).dictionary_encode(), "votes": plain["votes"].cast(pa.int8())}
    )
    whole = ContentDigest()
    whole.add(pa.concat_tables([held, held]).slice(3))
    assert whole.hexdigest() == digest(frame)


def test_a_snapshot_that_was_written_with_a_digest_of_its_rows_can_be_read(tmp_path: Path) -> None:
    frame = divided(table())
    old = tmp_path / "old.parquet"
    frame.to_parquet(old, index=False)
    verify(old, digest(frame.iloc[::-1], kind=RowDigest))
    with pytest.raises(SnapshotDamaged):
        verify(old, digest(frame))


def test_snapshot_can_be_read_back_by_split(tmp_path: Path) -> None:
    frame = divided(table())
    snapshot = write(frame, tmp_path)
    assert snapshot.rows == len(frame) == sum(snapshot.split_rows.values())
    assert snapshot.digest == digest(frame)
    parts = {split: read_split(snapshot, split) for split in SPLITS}
    assert sorted(pd.concat(parts.values())["prompt"]) == sorted(frame["prompt"])
    assert {split: len(part) for split, part in parts.items()} == snapshot.split_rows
    with pytest.raises(ValueError, match="no split is called 'dev'"):
        read_split(snapshot, "dev")


def test_the_same_content_is_kept_once(tmp_path: Path) -> None:
    first = write(divided(table()), tmp_path)
    assert write(divided(table()).assign(source="elsewhere"), tmp_path) == first
    assert [path.name for path in first.path.parent.iterdir()] == [first.path.name]


def test_a_write_that_loses_a_row_is_noticed(tmp_path: Path) -> None:
    frame = divided(table())
    writer = SnapshotWriter(tmp_path / "temporary")
    writer.add(frame)
    writer.close()
    frame.iloc[1:].to_parquet(tmp_path / "temporary", index=False)
    with pytest.raises(SnapshotDamaged, match="content digest"):
        writer.publish("prompts", tmp_path)
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_changed_or_truncated_file_is_noticed_and_made_again(tmp_path: Path) -> None:
    frame = divided(table())
    snapshot = write(frame, tmp_path)
    snapshot.path.chmod(0o644)
    content = snapshot.path.read_bytes()
    snapshot.path.write_bytes(content[: len(content) // 2])
    with pytest.raises(SnapshotDamaged, match="not a readable Parquet file"):
        verify(snapshot.path, snapshot.digest)
    frame.assign(prompt="something else").to_parquet(snapshot.path, index=False)
    with pytest.raises(SnapshotDamaged, match="delete it and ingest again"):
        read_split(snapshot, "train")
    write(frame, tmp_path)
    verify(snapshot.path, snapshot.digest)
    with pytest.raises(FileNotFoundError):
        verify(tmp_path / "absent.parquet", snapshot.digest)
