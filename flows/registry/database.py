"""MLflow's local database: made or migrated before it is used, and told where its storage folder is now."""

import contextlib
import errno
import functools
import json
import logging
import os
import sqlite3
from pathlib import Path
from urllib.parse import unquote, urlparse

import mlflow
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from cryptography.fernet import Fernet
from mlflow.db import upgrade
from sqlalchemy.exc import DBAPIError

from flows.config.errors import InputError
from flows.config.folders import make_folder
from flows.storage.locks import exclusive, is_held

ARTIFACTS = "artifacts"
"""Folder of the artifacts in the storage folder of a local database."""

SCHEME = "sqlite:///"

WEBHOOK_KEY = "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"

DISK = {sqlite3.SQLITE_FULL: errno.ENOSPC, sqlite3.SQLITE_READONLY: errno.EROFS}
"""What SQLite calls a disk that is full or read-only, and what the system does."""

DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
"""What SQLite calls a file that is not as it was written."""

ADDRESSES = {
    "experiments": "artifact_location",
    "runs": "artifact_uri",
    "logged_models": "artifact_location",
    "model_versions": "storage_location",
}
"""Columns by table in which MLflow keeps the addresses of artifacts, each an absolute one."""


def prepare_database() -> None:
    """Make the local database that the environment names ready; where it names a server, there is nothing to do.

    Only one process at a time does so, because two that migrate one file break it.

    Raises:
        InputError: if the file is no database that this MLflow can use, or the key of the environment is none.
        OSError: if its disk is full or read-only.
    """
    path = database_file()
    if path is not None:
        _check_webhook_key()
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # tells what it also raises, at length
        _prepare(path)


def _check_webhook_key() -> None:
    """See that what MLflow encrypts secrets of webhooks with is a key, which it says in a traceback."""
    if key := os.environ.get(WEBHOOK_KEY):
        try:
            Fernet(key)
        except ValueError:
            raise InputError(f"{WEBHOOK_KEY}: is no Fernet key, which has 32 bytes as url-safe base64") from None


def database_file() -> Path | None:
    """The local database that the environment names, None where it names a server."""
    uri = mlflow.get_tracking_uri()
    return Path(uri.removeprefix(SCHEME)) if uri.startswith(SCHEME) else None


@functools.cache
def _prepare(path: Path) -> None:
    make_folder(path.parent)
    with exclusive(path.with_suffix(".lock")):
        try:
            _bring_up_to_date(path)
        except (CommandError, DBAPIError, sqlite3.DatabaseError) as error:
            raise _in_words(error, path) from None
        relocate(path)


def _in_words(error: Exception, path: Path) -> Exception:
    reason = str(error).splitlines()[0]
    code = getattr(getattr(error, "orig", error), "sqlite_errorcode", 0) & 0xFF
    if code in DISK:
        return OSError(DISK[code], os.strerror(DISK[code]), str(path))
    if code in DAMAGED:
        return damaged(path, reason)
    return InputError(
        f"{path} is no database that this MLflow can use ({reason}): take the version that made it, or another storage"
    )


def damaged(path: Path, reason: str) -> InputError:
    """What is said of a database whose file is not as it was written."""
    return InputError(
        f"{path} is damaged ({reason}): put its backup in its place, or climb in another storage; what lies in "
        f"{path.parent / ARTIFACTS} is not lost"
    )


def _bring_up_to_date(path: Path) -> None:
    """Make or migrate a database; one that is cut off is as it was before, as no migration goes on from a half."""
    part, before = path.with_suffix(".part"), path.with_suffix(".before")
    for left in path.parent.glob(f"{part.name}*"):
        left.unlink()
    if before.exists():
        _copy(before, path)
        before.unlink()
    if not path.exists() or path.stat().st_size == 0:
        if any(path.parent.glob(f"{ARTIFACTS}/*")):
            raise damaged(path, "it is empty" if path.exists() else "it is not there")
        _migrate(part)
        part.rename(path)
    elif not _is_current(path):
        _copy(path, part)
        part.rename(before)
        try:
            _migrate(path)
        except BaseException:
            _copy(before, path)
            raise
        finally:
            before.unlink()


def _migrate(path: Path) -> None:
    upgrade.main([f"{SCHEME}{path}"], standalone_mode=False)


def _is_current(path: Path) -> bool:
    """Whether a database has the tables of this MLflow."""
    head = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations")).get_current_head()
    with contextlib.closing(sqlite3.connect(path, timeout=30.0)) as database:
        try:
            return list(database.execute("SELECT version_num FROM alembic_version")) == [(head,)]
        except sqlite3.DatabaseError:
            return False


def _copy(source: Path, target: Path) -> None:
    """Copy a database as it is between two changes, whoever else has it open."""
    with (
        contextlib.closing(sqlite3.connect(source, timeout=30.0)) as here,
        contextlib.closing(sqlite3.connect(target, timeout=30.0)) as there,
    ):
        here.backup(there)


def relocate(path: Path) -> None:
    """Let a database whose folder was moved or copied name the artifacts beside it instead of where they were.

    It stays as it is while the folder that it names is this one by another name, or where nothing of what it names
    lies here.

    Args:
        path: the database, in the storage folder.

    Raises:
        InputError: if a climb that knows the folder by its earlier name still runs, or this is the copy of a database
            that lies beside the artifacts, so that both would write there.
    """
    here = path.absolute().parent
    with contextlib.closing(sqlite3.connect(path, timeout=30.0)) as database, database:
        locations = [str(location) for (location,) in database.execute("SELECT artifact_location FROM experiments")]
        for location in dict.fromkeys(locations):
            then = Path(unquote(urlparse(location).path))
            if not location.startswith("file:") or then.name != ARTIFACTS or _is_here(then, here):
                continue
            if _was_moved(database, then.parent, here):
                if any(map(is_held, (here / "work").glob("*.lock"))):
                    raise InputError(f"{here} was {then.parent}, and a climb that knows it as that still runs; wait")
                _rename(database, then.parent, here)
            elif then.is_dir() and (then.parent / path.name).is_file():
                raise InputError(
                    f"{path} is a copy of {then.parent / path.name} without what that one names: copy the whole folder "
                    f"{then.parent}, or name it as the storage"
                )


def _is_here(then: Path, here: Path) -> bool:
    now = here / ARTIFACTS
    return then == now or (then.is_dir() and now.is_dir() and then.samefile(now))


def _was_moved(database: sqlite3.Connection, then: Path, here: Path) -> bool:
    now = here / ARTIFACTS
    below = f"{(then / ARTIFACTS).as_uri()}/"
    runs = database.execute("SELECT artifact_uri FROM runs WHERE instr(artifact_uri, ?) = 1", (below,))
    return any((now / unquote(str(uri).removeprefix(below))).is_dir() for (uri,) in runs)


def _rename(database: sqlite3.Connection, then: Path, here: Path) -> None:
    """Replace the folder in all addresses, and in those of the snapshots that runs have read."""
    old, new = ((folder / ARTIFACTS).as_uri() for folder in (then, here))
    for table, column in ADDRESSES.items():
        database.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {column} = ? OR instr({column}, ?) = 1",  # noqa: S608 (names of ADDRESSES)
            (new, len(old) + 1, old, f"{old}/"),
        )
    old, new = (json.dumps(f"{folder}/")[:-1] for folder in (then, here))
    database.execute("UPDATE datasets SET dataset_source = replace(dataset_source, ?, ?)", (old, new))


def deleted_models(path: Path) -> set[str]:
    """Ids of the logged models that a local database holds as deleted; of others it never heard, or keeps them."""
    with contextlib.closing(sqlite3.connect(path, timeout=30.0)) as database:
        query = "SELECT model_id FROM logged_models WHERE lifecycle_stage = 'deleted'"
        return {str(model_id) for (model_id,) in database.execute(query)}
