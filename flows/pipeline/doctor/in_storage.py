"""Leftovers in the storage folder: what interrupted writing and training left, while nobody uses the folder."""

import re
import shutil
from collections.abc import Container, Iterator
from functools import partial
from pathlib import Path

from flows.pipeline.doctor.leftover import Leftover, size_of
from flows.pipeline.doctor.processes import users
from flows.registry.client import Registry
from flows.registry.keys import IDENTITY, code_version
from flows.stages.finished import FINISHED
from flows.stages.runner import STATES
from flows.stages.stage_run import RUN
from flows.storage.locks import is_held
from flows.storage.scratch import SUFFIX

KEY = re.compile(r"[a-z-]+-[0-9a-f]{40}")

SCRATCH = ("tmp*", "copies/tmp*", "snapshots/fetched/tmp*", "cache/*/*/tmp*", "snapshots/*/*.tmp")
"""Temporary folders and files that their makers remove when they are done; beside those of `work`."""


def find_in_storage(storage: Path, registry: Registry | None, done: Container[str]) -> Iterator[Leftover]:
    """What lies in a storage folder and nobody will read again; nothing while a process uses the folder.

    Args:
        storage: the folder.
        registry: of the project whose runs the states are of, None where there is no database.
        done: content keys of registered versions.
    """
    if in_use(storage):
        return
    for path in sorted(path for pattern in SCRATCH for path in storage.glob(pattern)):
        yield _scratch(path, storage)
    for path in sorted(storage.glob("work/*")):
        if path.is_dir():
            yield from _work(path, storage, registry, done)


def in_use(storage: Path) -> bool:
    """Whether a living process has a lock or a file of a storage folder."""
    return any(map(is_held, storage.glob("work/*.lock"))) or bool(users(storage))


def _work(path: Path, storage: Path, registry: Registry | None, done: Container[str]) -> Iterator[Leftover]:
    key, _, suffix = path.name.partition(".")
    states = storage / "work" / f"{key}{STATES}"
    if not KEY.fullmatch(key) or f".{suffix}" == SUFFIX:
        yield _scratch(path, storage)
    elif not states.is_dir():
        yield _removable("work", path, "of a training that keeps no state, so that it would begin anew", storage)
    elif f".{suffix}" == STATES and key in done:
        yield _removable("states", path, "of a training whose result is registered", storage)
    elif f".{suffix}" == STATES:
        yield from (
            _removable("half a state", half, "was cut off while it was written", storage) for half in _halves(path)
        )
        code = _code(path, registry)
        if code not in ("", code_version()):
            yield Leftover(
                "states",
                str(path),
                f"of a training by {code}; this is {code_version()}, which begins anew",
                "stays; that code can go on from it, and `rlhf prune` removes it once it is old",
                size_of(path),
            )
    elif key in done:
        yield _removable("work", path, "of a training whose result is registered", storage)


def _halves(states: Path) -> list[Path]:
    return [path for path in (states / "writing", (states / FINISHED).with_suffix(".part")) if path.exists()]


def _code(states: Path, registry: Registry | None) -> str:
    """The code whose training kept some states, empty where nothing tells."""
    note = states / RUN
    if registry is None or not note.exists():
        return ""
    identity = registry.document(note.read_text(encoding="utf-8", errors="replace"), IDENTITY)
    return "" if identity is None else str(identity.get("code", ""))


def _scratch(path: Path, storage: Path) -> Leftover:
    return _removable("temporary", path, "whoever made it for a while is gone", storage)


def _removable(kind: str, path: Path, what: str, storage: Path) -> Leftover:
    return Leftover(kind, str(path), what, "removes it", size_of(path), partial(_remove, path, storage))


def _remove(path: Path, storage: Path) -> None:
    if not in_use(storage):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
