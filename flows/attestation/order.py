"""The order of statements: each after those that it names; the time of a clock decides only between strangers."""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise

from flows.attestation.log import LogEntry

BEGINNING = datetime.min.replace(tzinfo=UTC)


def ordered(entries: Sequence[LogEntry]) -> list[LogEntry]:
    """Entries of a log, each after those before it in its chain and those of other chains that its writer saw.

    Of two whose writers knew nothing of each other the one comes first that was made earlier; what follows a statement
    counts as made no earlier than that, whatever a clock said that jumped back. What names itself in a circle, as no
    writer does, comes last.
    """
    before = named_before(entries)
    after: dict[str, list[str]] = defaultdict(list)
    for name, earlier in before.items():
        for other in earlier:
            after[other].append(name)
    by_name = {entry.name: entry for entry in entries}
    waits = {name: len(earlier) for name, earlier in before.items()}
    made = {name: _time(entry) for name, entry in by_name.items()}
    ready = [(made[name], name) for name, count in waits.items() if not count]
    heapq.heapify(ready)
    order = []
    while ready:
        time, name = heapq.heappop(ready)
        order.append(by_name[name])
        for later in after[name]:
            made[later] = max(made[later], time)
            waits[later] -= 1
            if not waits[later]:
                heapq.heappush(ready, (made[later], later))
    circle = sorted(name for name, count in waits.items() if count)
    return [*order, *(by_name[name] for name in circle)]


def named_before(entries: Sequence[LogEntry]) -> dict[str, set[str]]:
    """The entries right before each one that are there: of its own chain, and those of others that it names."""
    names = {entry.name for entry in entries}
    before: dict[str, set[str]] = {name: set() for name in names}
    for chain in chains(entries).values():
        for earlier, entry in pairwise(chain):
            before[entry.name].add(earlier.name)
        for entry in chain:
            assert entry.position is not None
            others = {f"{other}-{head}.json" for other, head in entry.position.others.items()}
            before[entry.name] |= others & names - {entry.name}
    return before


def chains(entries: Iterable[LogEntry]) -> dict[str, list[LogEntry]]:
    """Entries that have a place, by their chain, in the order of their numbers."""
    found: dict[str, list[LogEntry]] = defaultdict(list)
    for entry in entries:
        if entry.position is not None:
            found[entry.position.chain].append(entry)
    return {chain: sorted(of, key=_number) for chain, of in found.items()}


def seen_by(name: str, before: Mapping[str, set[str]]) -> set[str]:
    """Names of an entry and of all that came before it, as far as it or one of those says so.

    Args:
        name: of the entry.
        before: what `named_before` gives.
    """
    seen, todo = {name}, [name]
    while todo:
        new = before[todo.pop()] - seen
        seen |= new
        todo += new
    return seen


def set_back(entries: Iterable[LogEntry]) -> int:
    """How often a statement tells an earlier time than the one before it in its chain: a clock was set back then."""
    return sum(_time(entry) < _time(before) for chain in chains(entries).values() for before, entry in pairwise(chain))


def _time(entry: LogEntry) -> datetime:
    return BEGINNING if entry.position is None else entry.position.time


def _number(entry: LogEntry) -> tuple[int, str]:
    return (-1 if entry.position is None else entry.position.number, entry.name)
