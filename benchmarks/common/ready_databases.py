"""New databases of MLflow and Prefect copied from ones that were made before: their migrations take seconds each."""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from flows.registry import database
from flows.storage.locks import exclusive

migrate = database._migrate
"""Really makes a database of MLflow, or brings one up to date."""


def copy_migrations(templates: Path) -> Callable[[Path], None]:
    """What may stand in the place of `migrate`: a new database is a copy of the first one in a folder.

    Args:
        templates: the folder.
    """

    def make(path: Path) -> None:
        if path.exists():
            migrate(path)
        else:
            copy_database(templates / "mlflow.db", path, migrate)

    return make


def copy_database(template: Path, target: Path, make: Callable[[Path], None]) -> None:
    """Copy a database, which one process makes before, if there is none yet."""
    with exclusive(template.with_suffix(".lock")):
        if not template.exists():
            part = template.with_suffix(".part")
            for left in part.parent.glob(f"{part.name}*"):  # by a process that was killed
                left.unlink()
            make(part)
            part.rename(template)
    with closing(sqlite3.connect(template)) as here, closing(sqlite3.connect(target)) as there:
        here.backup(there)


def make_prefect_database(path: Path) -> None:
    """Make the tables of Prefect's server, in a process of its own, which has not served yet."""
    process = os.fork()
    if not process:
        os.environ["PREFECT_API_DATABASE_CONNECTION_URL"] = f"sqlite+aiosqlite:///{path}"
        from prefect import context  # noqa: PLC0415 reads the environment
        from prefect.server.database import provide_database_interface  # noqa: PLC0415 as above

        vars(context).pop("GLOBAL_SETTINGS_CONTEXT", None)
        context.GLOBAL_SETTINGS_CONTEXT = context.root_settings_context()
        asyncio.run(provide_database_interface().create_db())
        os._exit(0)
    if status := os.waitpid(process, 0)[1]:
        raise RuntimeError(f"Prefect's database was not made: {os.waitstatus_to_exitcode(status)}")
