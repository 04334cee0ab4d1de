"""Databases that are copied from one that was made before."""

import sqlite3
from contextlib import closing
from pathlib import Path

from benchmarks.common.ready_databases import copy_database


def make(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE words (word TEXT)")


def test_a_template_whose_making_was_killed_is_made_anew(tmp_path: Path) -> None:
    template = tmp_path / "kept.db"
    make(template.with_suffix(".part"))
    for target in ("one.db", "two.db"):
        copy_database(template, tmp_path / target, make)
        with closing(sqlite3.connect(tmp_path / target)) as database:
            assert database.execute("SELECT name FROM sqlite_master").fetchall() == [("words",)]
