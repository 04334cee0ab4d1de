"""A checkup of a storage folder and its registry: all leftovers, as a table, and with their fixes."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mlflow import MlflowClient
from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.filesize import decimal
from rich.markup import escape
from rich.table import Table

from flows.lineage.archive import Archive
from flows.pipeline.doctor.in_registry import find_files_of_no_model, find_in_registry
from flows.pipeline.doctor.in_storage import find_in_storage
from flows.pipeline.doctor.leftover import Leftover
from flows.pipeline.doctor.locks import find_locks
from flows.pipeline.doctor.processes import find_servers
from flows.promotion.outbox import Outbox
from flows.registry.client import Registry
from flows.registry.database import database_file
from flows.registry.names import data_experiment, ledger_experiment, withdrawals_experiment
from flows.storage.locks import exclusive

WAITED = timedelta(minutes=10)
"""How long a promotion may be on its way; the receiver asks every few seconds."""


def examine(storage: Path, project: str | None, outboxes: Sequence[Path]) -> list[Leftover]:
    """All that crashes left, the processes first, then what they held.

    Args:
        storage: the folder of climbs; must be there.
        project: whose runs and versions are looked at; None for all in the registry.
        outboxes: files of receivers, which need not be there.
    """
    found = [*find_servers(storage), *find_locks(storage)]
    database = database_file()
    if database is not None and not database.exists():
        return [*found, *find_in_storage(storage, None, ())]
    client = MlflowClient()
    projects = _projects(client) if project is None else [project]
    for name in projects:
        found += find_in_registry(client, name, storage)
    if database is not None:
        found += find_files_of_no_model(client, storage, database)
    done = {version.key for version in Archive(client).everything().versions.values()}
    experiments = [experiment for name in projects if (experiment := client.get_experiment_by_name(name))]
    registry = Registry(client, experiments[0].experiment_id, storage) if experiments else None
    return [*found, *find_in_storage(storage, registry, done), *_outgoing(outboxes)]


def repair(storage: Path, leftovers: Sequence[Leftover]) -> list[Leftover]:
    """Fix what can be fixed, one doctor at a time; those that were."""
    fixed = [leftover for leftover in leftovers if leftover.fix is not None]
    with exclusive(storage / "doctor.lock"):
        for leftover in fixed:
            assert leftover.fix is not None
            leftover.fix()
    return fixed


def as_json(leftovers: Sequence[Leftover], fixed: Sequence[Leftover]) -> list[dict[str, object]]:
    """The leftovers as JSON takes them."""
    return [
        {name: value for name, value in leftover._asdict().items() if name != "fix"} | {"fixed": leftover in fixed}
        for leftover in leftovers
    ]


def render(leftovers: Sequence[Leftover], fixed: Sequence[Leftover]) -> Group:
    """What was left, where, how large, and what became or becomes of it."""
    if not leftovers:
        return Group("nothing was left behind")
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 2, 0, 0))
    for column in ("kind", "where", "what", "size", "--fix"):
        table.add_column(column, overflow="fold")
    for leftover in leftovers:
        remedy = f"done: {leftover.remedy}" if leftover in fixed else leftover.remedy
        table.add_row(leftover.kind, *map(escape, (leftover.where, leftover.what)), decimal(leftover.size), remedy)
    removable = sum(leftover.fix is not None for leftover in leftovers) - len(fixed)
    rest = f"; --fix does so for {removable}" if removable else ""
    return Group(table, f"\n{len(leftovers)} found, {len(fixed)} fixed{rest}")


def _projects(client: MlflowClient) -> list[str]:
    names = {experiment.name for experiment in client.search_experiments() if experiment.experiment_id != "0"}
    beside = {beside(name) for name in names for beside in (data_experiment, ledger_experiment, withdrawals_experiment)}
    return sorted(names - beside)


def _outgoing(outboxes: Sequence[Path]) -> Iterator[Leftover]:
    """Promotions that no receiver passed on."""
    for path in outboxes:
        for promotion in Outbox(path).having("open") if path.exists() else ():
            if datetime.now(UTC) - datetime.fromisoformat(promotion.noticed) > WAITED:
                yield Leftover(
                    "promotion",
                    str(path),
                    f"{promotion.label} became champion, and Prefect has not been told since {promotion.noticed}",
                    "stays; start the receiver by `rlhf receive`, which sends it",
                )
