"""A storage folder that was moved or copied: its database names what lies beside it, and nothing is made elsewhere."""

import contextlib
import errno
import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from mlflow.db import upgrade

from benchmarks.common.ready_databases import migrate
from flows.config.errors import InputError
from flows.registry import database
from flows.registry.client import Registry, open_registry
from flows.registry.database import prepare_database, relocate
from flows.registry.glance import glance
from flows.registry.references import DatasetRef, ModelRef
from flows.storage.locks import exclusive


@pytest.fixture(autouse=True)
def made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here no database is a copy of one that other tests share."""
    monkeypatch.setattr(database, "_migrate", migrate)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ModelRef]:
    """A storage with a version, and a snapshot that its run has read."""
    storage = tmp_path_factory.mktemp("made") / "it's ü 50%"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{storage / 'mlflow.db'}")
        registry = open_registry("toy", storage)
        files = storage / "work" / "files"
        files.mkdir(parents=True)
        (files / "weights").write_bytes(b"\0\1")
        run_id = registry.start_run("stage")
        ref = registry.register(files, "toy-sft", run_id=run_id, parents={}, tags={}, description="")
        table = DatasetRef(
            name="prompts",
            digest="d" * 64,
            path=str(storage / "snapshots" / "prompts.parquet"),
            rows=1,
            splits={},
            sources=(),
            report=str(files),
        )
        registry.log_datasets(run_id, {"training": table})
    return storage, ref


@pytest.fixture
def copied(made: tuple[Path, ModelRef], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which the environment names."""
    folder = tmp_path / "copy 100%"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
    return Path(shutil.copytree(made[0], folder))


def opened(storage: Path) -> Registry:
    return open_registry("toy", storage)


def test_a_copy_names_its_own_files(copied: Path, made: tuple[Path, ModelRef]) -> None:
    registry, (_, ref) = opened(copied), made
    assert registry.folder(ref).is_relative_to(copied)
    assert registry.client.get_experiment(registry.experiment_id).artifact_location == (copied / "artifacts").as_uri()
    run = registry.client.get_run(ref.run_id)
    source = json.loads(run.inputs.dataset_inputs[0].dataset.source)
    assert source["uri"] == str(copied / "snapshots" / "prompts.parquet")
    new = registry.start_run("later")
    registry.client.log_dict(new, {}, "a.json")
    assert list(copied.glob(f"artifacts/{new}/artifacts/a.json"))
    assert not list(made[0].rglob(f"*{new}*"))
    with contextlib.closing(sqlite3.connect(copied / "mlflow.db")) as database:
        assert not [line for line in database.iterdump() if made[0].as_uri() in line or f"{made[0]}/" in line]


def test_a_folder_that_has_another_name_too_keeps_its_first(
    made: tuple[Path, ModelRef], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(made[0])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'link' / 'mlflow.db'}")
    assert opened(tmp_path / "link").folder(made[1]).is_relative_to(made[0])


@pytest.mark.parametrize("beside", [False, True])
def test_a_database_that_was_copied_alone_is_refused_as_both_would_write_to_one_place(
    made: tuple[Path, ModelRef], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: bool
) -> None:
    shutil.copy(made[0] / "mlflow.db", tmp_path / "mlflow.db")
    if beside:
        (tmp_path / "artifacts").mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    with pytest.raises(InputError, match=r"is a copy of .*mlflow\.db without what that one names: copy the whole"):
        opened(tmp_path)


def test_a_database_that_was_moved_alone_keeps_naming_the_files(
    made: tuple[Path, ModelRef], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(made[0], tmp_path / "first")
    relocate(tmp_path / "first" / "mlflow.db")
    (tmp_path / "databases").mkdir()
    shutil.move(tmp_path / "first" / "mlflow.db", tmp_path / "databases" / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'databases' / 'mlflow.db'}")
    assert opened(tmp_path / "first").folder(made[1]).is_relative_to(tmp_path / "first")


@pytest.mark.parametrize("emptied", [False, True])
def test_no_new_database_is_made_beside_what_one_has_registered(copied: Path, emptied: bool) -> None:
    (copied / "mlflow.db").unlink()
    if emptied:
        (copied / "mlflow.db").touch()
    with pytest.raises(InputError, match=r"mlflow\.db is damaged \(it is (empty|not there)\): put its backup"):
        prepare_database()
    shutil.rmtree(copied / "artifacts")
    prepare_database()


def test_a_cut_database_is_told_as_damaged(copied: Path) -> None:
    os.truncate(copied / "mlflow.db", 100_000)
    with pytest.raises(InputError, match=r"mlflow\.db is damaged \(.*malformed.*\): put its backup in its place"):
        prepare_database()
    with pytest.raises(InputError, match=r"mlflow\.db is damaged, or MLflow.s of another version \(.*malformed"):
        glance().aliased("toy")


def test_nothing_is_renamed_under_a_climb_that_still_runs(copied: Path) -> None:
    with exclusive(copied / "work" / "stage.lock"), pytest.raises(InputError, match="a climb that knows it as that"):
        relocate(copied / "mlflow.db")
    relocate(copied / "mlflow.db")


def test_a_file_that_is_no_database_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mlflow.db").write_text("these are words, and no database at all" * 100)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    with pytest.raises(InputError, match=r"mlflow\.db is damaged \(.*not a database.*\): put its backup"):
        prepare_database()


def test_a_key_of_webhooks_that_is_none_is_named(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY", "planted-word")
    with pytest.raises(InputError, match=r"^MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY: is no Fernet key") as refused:
        prepare_database()
    assert "planted-word" not in str(refused.value)
    monkeypatch.setenv("MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY", Fernet.generate_key().decode())
    prepare_database()


def die_in_migration(path: Path) -> None:
    """Prepare a database in a process that is killed when a table is moved and its new one has not got its name."""

    def main(addresses: list[str], **_: object) -> None:
        with contextlib.closing(sqlite3.connect(addresses[0].removeprefix("sqlite:///"))) as half:
            half.execute("CREATE TABLE _alembic_tmp_experiments (experiment_id INTEGER)")
            half.execute("DROP TABLE IF EXISTS experiments")
            half.commit()
        os.kill(os.getpid(), signal.SIGKILL)

    upgrade.main = main
    prepare_database()


def kill_in_migration(path: Path) -> None:
    killed = multiprocessing.get_context("fork").Process(target=die_in_migration, args=(path,))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL


def tables(path: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        return {str(name) for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_a_new_database_whose_making_was_killed_is_made_anew(storage: Path) -> None:
    kill_in_migration(storage / "mlflow.db")
    assert not (storage / "mlflow.db").exists()
    prepare_database()
    assert "experiments" in tables(storage / "mlflow.db") and "_alembic_tmp_experiments" not in tables(
        storage / "mlflow.db"
    )
    assert sorted(path.name for path in storage.iterdir()) == ["mlflow.db", "mlflow.lock"]


def test_a_database_whose_migration_was_killed_is_as_it_was_and_migrated_then(
    copied: Path, made: tuple[Path, ModelRef], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = copied / "mlflow.db", list[set[str]]()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE alembic_version SET version_num = 'earlier'")
        database.commit()
    kill_in_migration(path)
    assert "experiments" not in tables(path)
    monkeypatch.setattr(upgrade, "main", lambda *_, **__: seen.append(tables(path)))
    prepare_database()
    (then,) = seen
    assert "experiments" in then and "_alembic_tmp_experiments" not in then
    assert not path.with_suffix(".before").exists()


def test_a_database_of_a_newer_mlflow_stays_as_it_is(copied: Path) -> None:
    path = copied / "mlflow.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE alembic_version SET version_num = 'later'")
        database.commit()
    with pytest.raises(InputError, match=r"mlflow.db is no database that this MLflow can use \(.*later"):
        prepare_database()
    assert "experiments" in tables(path) and not path.with_suffix(".before").exists()


def test_a_full_disk_under_a_database_is_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(path: Path) -> None:
        with contextlib.closing(sqlite3.connect(path)) as small:
            small.execute("PRAGMA max_page_count = 2")
            small.execute("CREATE TABLE t (x)")
            small.execute("INSERT INTO t VALUES (zeroblob(100000))")

    monkeypatch.setattr(database, "_bring_up_to_date", fill)
    with pytest.raises(OSError, match=r"No space left on device: .*mlflow\.db") as told:
        database._prepare(tmp_path / "mlflow.db")
    assert told.value.errno == errno.ENOSPC
