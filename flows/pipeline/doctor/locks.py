"""Locks of a storage folder that nobody who lives has taken."""

from collections.abc import Iterator
from pathlib import Path

from flows.pipeline.doctor.leftover import Leftover
from flows.pipeline.doctor.processes import holders
from flows.registry.processes import number_is_dead
from flows.storage.locks import owner


def find_locks(storage: Path) -> Iterator[Leftover]:
    """Locks that are held for a process that is dead, by a child that it left behind."""
    for lock in sorted([*storage.glob("work/*.lock"), *storage.glob("*.lock")]):
        process = owner(lock)
        if process is not None and number_is_dead(process):
            held = ", ".join(map(str, holders(lock))) or "none that can be seen"
            yield Leftover(
                "lock",
                str(lock),
                f"was taken by process {process}, which is dead, and is held by what that left: {held}",
                "stays; end those processes, and it is free",
            )
