"""What a person should know of a project now: champions, runs, and what needs somebody, with what to do."""

import os
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from flows.config.freshness import overdue
from flows.config.ladder import LadderConfig
from flows.deploy.status.next_run import NextRun, next_run
from flows.pipeline.doctor.locks import find_locks
from flows.pipeline.doctor.processes import find_servers
from flows.promotion.outbox import Outbox
from flows.registry.glance import AliasedVersion, Glance, SeenRun, glance
from flows.registry.names import (
    APPROVED_TAG,
    CHALLENGER,
    CHAMPION,
    DATA_TAG,
    FAILED,
    GATED,
    HELD_TAG,
    OUTCOME_TAG,
    PARENT_RUN_TAG,
    PROCESS_TAG,
    STAGE_TAG,
    STATUS_TAG,
    WITHDRAWN_PREFIX,
    ledger_experiment,
    registered_name,
)
from flows.registry.processes import is_dead

RUNS_SEEN = 50
"""The newest runs, among which the last climb is looked for."""

WAITING = "waiting for labels"
"""Begins the outcome of a round that people are to label answers for."""


class Concern(NamedTuple):
    """Something that needs a person, and what to do about it."""

    what: str
    todo: str


class Status(NamedTuple):
    """A project now.

    Attributes:
        champions: versions that others load.
        waiting: challengers that are not champion, of the models that a person decides about.
        last: the newest climb, or stage alone.
        next: the run that a schedule starts next; None where no Prefect is named, or none is scheduled.
        overdue: what is older than it may become.
        concerns: what needs a person, overdue things among it.
    """

    project: str
    champions: Sequence[AliasedVersion]
    waiting: Sequence[AliasedVersion]
    last: SeenRun | None
    next: NextRun | None
    overdue: Sequence[str]
    concerns: Sequence[Concern]


def status_of(config: LadderConfig, arguments: str) -> Status:
    """Look at registry, storage, outbox and Prefect; nothing is changed.

    Args:
        config: of the project.
        arguments: how it is named on a command line.

    Raises:
        InputError: if there is no registry yet, or it does not answer.
    """
    registry = glance()
    aliased = registry.aliased(config.project)
    champions = [version for version in aliased if version.alias == CHAMPION]
    held = {version.label for version in champions}
    runs = registry.runs(config.project, STAGE_TAG, most=RUNS_SEEN)
    last = next((run for run in runs if PARENT_RUN_TAG not in run.tags), None)
    made = {version.label: version.created for version in champions}
    late = overdue(config.freshness, made, _data_since(registry, config.project), time.time())
    decided = {registered_name(config.project, stage) for stage in GATED}  # what comes with them is decided with them
    challengers = (one for one in aliased if one.alias == CHALLENGER and one.name in decided)
    waiting = [one for one in challengers if one.label not in held]
    scheduled, unwell = next_run(config.project)
    return Status(
        project=config.project,
        champions=champions,
        waiting=waiting,
        last=last,
        next=scheduled,
        overdue=late,
        concerns=[
            *_of_last(last, arguments),
            *_overdue(late, waiting, arguments),
            *(Concern(line, "prefect worker start --pool rlhf, or look at the server") for line in unwell),
            *_of_champions(champions),
            *_of_gates(champions, registry, config.project),
            *_of_people(champions, wanted=config.promotion.two_people),
            *_of_outbox(config.storage, held),
            *_left_behind(config.storage, runs, arguments),
        ],
    )


def as_json(status: Status) -> dict[str, Any]:
    """The status as JSON takes it."""
    return {
        "project": status.project,
        "champions": [_version(version) for version in status.champions],
        "challengers_waiting": [_version(version) for version in status.waiting],
        "last_run": status.last and _run(status.last),
        "next_run": status.next and status.next._asdict(),
        "overdue": [*status.overdue],
        "concerns": [concern._asdict() for concern in status.concerns],
    }


def lines(status: Status) -> Iterator[str]:
    """The status in plain text."""
    yield f"project     {status.project}"
    yield from _listed("champions", [f"{one.label}, made {_ago(one.created)}" for one in status.champions])
    yield from _listed("challengers", [f"{one.label}, made {_ago(one.created)}" for one in status.waiting])
    last, scheduled = status.last, status.next
    yield from _listed("last run", [] if last is None else [f"{last.name}, {_ago(last.started)}: {_outcome(last)}"])
    yield from _listed("next run", [] if scheduled is None else [f"{scheduled.flow_run}, {scheduled.when} UTC"])
    yield from _listed("overdue", status.overdue)
    yield ""
    if not status.concerns:
        yield "nothing needs a person"
    for concern in status.concerns:
        yield f"! {concern.what}"
        yield f"    {concern.todo}"


def _data_since(registry: Glance, project: str) -> float | None:
    """When the newest data were read for the first time."""
    for newest in registry.runs(project, DATA_TAG):
        return registry.runs(project, DATA_TAG, newest.tags[DATA_TAG], newest=False)[0].started
    return None


def _overdue(late: Sequence[str], waiting: Sequence[AliasedVersion], arguments: str) -> Iterator[Concern]:
    """What is overdue; a challenger that waits may end that."""
    names = {version.name for version in waiting}
    for line in late:
        name = line.partition("/")[0]
        yield Concern(line, f"rlhf promote {name}" if name in names else f"rlhf run {arguments}, once data are new")


def _of_last(last: SeenRun | None, arguments: str) -> Iterator[Concern]:
    if last is None:
        yield Concern("nothing has run yet", f"rlhf run {arguments}")
    elif last.status in ("FAILED", "KILLED"):
        yield Concern(f"the last run did not come to its end: {_outcome(last)}", f"rlhf report {last.run_id}")
    elif last.tags.get(OUTCOME_TAG, "").startswith(WAITING):
        yield Concern(last.tags[OUTCOME_TAG], "have the answers labelled, and run the same again")


def _of_champions(champions: Sequence[AliasedVersion]) -> Iterator[Concern]:
    for version in champions:
        for name, said in version.tags.items():
            if name.startswith(WITHDRAWN_PREFIX):
                what = f"champion {version.label} was trained on {said}"
                yield Concern(what, f"rlhf rollback {version.name}, or promote another version")


def _of_gates(champions: Sequence[AliasedVersion], registry: Glance, project: str) -> Iterator[Concern]:
    """Champions whose gates did not pass, unless somebody forced that and said why."""
    for version in champions:
        if version.tags.get(STATUS_TAG) != FAILED:
            continue
        moves = registry.runs(ledger_experiment(project), "model", version.name, most=RUNS_SEEN)
        if not any(move.tags["version"] == version.version and move.tags["forced"] == "true" for move in moves):
            what = (
                f"champion {version.label} did not pass its gates, and `rlhf promote --force` has not made it champion"
            )
            yield Concern(what, f"rlhf rollback {version.name}, or promote another version")


def _of_people(champions: Sequence[AliasedVersion], *, wanted: bool) -> Iterator[Concern]:
    """Champions that another person must sign for; whether those really signed who are named, the audit tells."""
    for version in champions if wanted else ():
        if "," not in version.tags.get(APPROVED_TAG, ""):
            what = f"champion {version.label} waits for a second person, and nothing starts from it"
            yield Concern(what, f"rlhf approve {version.label}")


def _of_outbox(storage: Path, champions: set[str]) -> Iterator[Concern]:
    """Promotions that the receiver holds back, of versions that are still champion."""
    for folder in (Path(os.environ.get("STACK") or ".stack") / "receiver", storage):
        path = folder / "ledger.db"
        for promotion in Outbox(path).having("held") if path.exists() else ():
            if promotion.label in champions:
                what = f"the promotion of {promotion.label} is held: {promotion.reason}"
                yield Concern(what, f"rlhf rollback {promotion.model}, or promote another version")


def _left_behind(storage: Path, runs: Sequence[SeenRun], arguments: str) -> Iterator[Concern]:
    """What crashes left, as far as it is seen at once; `rlhf doctor` looks at all of it."""
    doctor = f"rlhf doctor {arguments} --fix"
    for leftover in (*find_servers(storage), *find_locks(storage)):
        yield Concern(f"{leftover.kind} {leftover.where}: {leftover.what}", doctor)
    for run in runs:
        if run.status == "RUNNING" and is_dead(run.tags.get(PROCESS_TAG, "")):
            yield Concern(f"run {run.run_id} ({run.name}) says that it is running, and its process is dead", doctor)


def _version(version: AliasedVersion) -> dict[str, Any]:
    withdrawn = [said for name, said in version.tags.items() if name.startswith(WITHDRAWN_PREFIX)]
    return {
        "version": version.label,
        "made": _iso(version.created),
        "withdrawn": withdrawn,
        "held": version.tags.get(HELD_TAG, ""),
    }


def _run(run: SeenRun) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "name": run.name,
        "status": run.status,
        "started": _iso(run.started),
        "outcome": run.tags.get(OUTCOME_TAG, ""),
    }


def _outcome(run: SeenRun) -> str:
    said = run.tags.get(OUTCOME_TAG, "")
    return said or ("it goes on" if run.status == "RUNNING" else run.status.lower())


def _listed(title: str, entries: Sequence[str]) -> Iterator[str]:
    for number, entry in enumerate(entries or ["none"]):
        yield f"{'' if number else title:12}{entry}"


def _ago(seconds: float) -> str:
    age = time.time() - seconds
    for unit, length in (("days", 86_400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if age >= 2 * length:
            return f"{age / length:.0f} {unit} ago"
    return "just now"


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
