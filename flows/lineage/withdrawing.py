"""Withdrawing data: recorded, and at once said of every version that was trained on them."""

from collections.abc import Iterator, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from flows.attestation.statement import REMOVAL, Subject, digest_of
from flows.config.errors import InputError
from flows.lineage.archive import Archive
from flows.lineage.data_names import DataBook
from flows.lineage.graph import Version
from flows.lineage.withdrawn_marks import settle_marks
from flows.registry.client import Registry, open_registry
from flows.registry.ingestions import last_ingestion
from flows.registry.names import withdrawals_experiment
from flows.registry.statements import holds_run, log_of, state
from flows.registry.withdrawals import (
    LOCK,
    DataName,
    Withdrawal,
    all_withdrawals,
    hashed_group,
    restore,
    withdraw,
    withdrawals_in_force,
)


def withdraw_data(
    registry: Registry, project: str, text: str, *, why: str, by: str
) -> tuple[Withdrawal, list[Version]]:
    """Withdraw data of a project; one that was cut off before it was stated is brought to its end.

    Args:
        registry: of the project.
        project: whose data.
        text: as `DataBook.find`.
        why: the reason, which is kept.
        by: who does it.

    Returns:
        The withdrawal, and every version that was trained on these data, marked and without the alias of a challenger.

    Raises:
        InputError: if nothing is called so, or it is withdrawn already.
    """
    archive = Archive(registry.client)
    book = DataBook(archive, [project], _read_lately(registry))
    data = book.find(text)
    keys = book.keys(book.kept(data)) if data.kind == "dataset" else None
    with registry.alone(LOCK):
        records, holding = _records(registry, project), withdrawals_in_force(registry.client, project)
        cut = next((item for item in holding if item.target == data.target and not _is_stated(registry, item)), None)
        withdrawal = cut or withdraw(records, project, data, keys=keys, why=why, by=by)
        touched = settle_marks(archive, project, registry, again=cut is not None)
        _state(registry, records, withdrawal)
    return withdrawal, touched[withdrawal.id]


def restore_data(registry: Registry, project: str, text: str, *, why: str, by: str) -> Withdrawal:
    """Take the withdrawal of some data back, and the marks of versions with it; what was cut off is brought to its end.

    Raises:
        InputError: if nothing that is called so is withdrawn.
    """
    with registry.alone(LOCK):
        called = [
            item
            for item in all_withdrawals(registry.client, project)
            if any(_is_called(item, name) for name in _names(text))
        ]
        meant = [item for item in called if not item.restored]
        cut = [item for item in called if item.restored and not _is_stated(registry, item)]
        if len(meant or cut) != 1:
            there = ", ".join(item.target for item in withdrawals_in_force(registry.client, project)) or "nothing"
            raise InputError(f"{text}: names {len(meant)} withdrawals; withdrawn are {there}")
        records = _records(registry, project)
        restored = restore(records, meant[0], why=why, by=by) if meant else cut[0]
        settle_marks(Archive(registry.client), project, registry, again=not meant)
        _state(registry, records, restored)
    return restored


def listed(registry: Registry, project: str) -> list[dict[str, Any]]:
    """All withdrawals with the versions that those in force touch, as JSON takes them; the oldest first."""
    graph = Archive(registry.client).everything()
    return [
        {
            **item.model_dump(mode="json"),
            "versions": sorted(
                label for label, version in graph.versions.items() if item.short_id in version.withdrawn
            ),
        }
        for item in all_withdrawals(registry.client, project)
    ]


def render_withdrawals(rows: Sequence[dict[str, Any]]) -> Group:
    """What was withdrawn, when, by whom and why, and how many versions have it."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 2, 0, 0))
    for column in ("withdrawn", "when, UTC", "by", "why", "versions", "taken back"):
        table.add_column(column, overflow="fold")
    for row in rows:
        when = f"{row['when'][:16].replace('T', ' ')}"
        cells = (
            f"{row['kind']}:{row['name']}",
            when,
            row["by"],
            row["why"],
            str(len(row["versions"])),
            row["restored"],
        )
        table.add_row(*map(escape, cells))
    return Group(table) if rows else Group("nothing is withdrawn")


def _state(registry: Registry, records: Registry, withdrawal: Withdrawal) -> None:
    """Leave a statement of a withdrawal, or of its being taken back, which comes last: what has none was cut off."""
    subject = Subject(name=withdrawal.target, digest={"sha256": digest_of(withdrawal.model_dump(mode="json"))})
    predicate = {"run": withdrawal.id, "what": withdrawal.sentence, "restored": withdrawal.restored}
    state(registry, REMOVAL, [subject], predicate, holds_run(records, withdrawal.id))


def _is_stated(registry: Registry, withdrawal: Withdrawal) -> bool:
    """Whether a withdrawal, or its being taken back, has its statement."""
    predicates = (entry.statement.predicate for entry in log_of(registry).read() if entry.statement is not None)
    wanted = (withdrawal.id, withdrawal.restored)
    return any((predicate.get("run"), predicate.get("restored")) == wanted for predicate in predicates)


def _records(registry: Registry, project: str) -> Registry:
    return open_registry(withdrawals_experiment(project), registry.storage)


def _read_lately(registry: Registry) -> dict[str, set[str]]:
    """Sources and annotators that the last ingestion read, though nothing may have been trained on them."""
    last = last_ingestion(registry)
    tables = [] if last is None else last.contributors.values()
    return {
        "source": {name for table in tables for name in table.sources},
        "annotator": {name for table in tables for name in table.annotators},
    }


def _is_called(withdrawal: Withdrawal, data: DataName) -> bool:
    same = withdrawal.name == data.name or (data.kind == "dataset" and withdrawal.name.startswith(data.name))
    return withdrawal.kind == data.kind and same


def _names(text: str) -> Iterator[DataName]:
    """All that a person may mean who takes something back; a group also by the hash that is listed."""
    kind, colon, name = text.partition(":")
    for each in ("source", "annotator", "dataset", "group") if not colon else (kind,):
        called = name if colon else text
        match each:
            case "source" | "annotator" | "dataset":
                yield DataName(each, called)
            case "group":
                yield DataName(each, hashed_group(called))
                yield DataName(each, called)
