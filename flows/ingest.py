"""Ingestion: read or generate the three tables, hold them against their contracts, keep them as snapshots."""

import functools
import hashlib
import inspect
import time
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import flow, task
from prefect.artifacts import create_table_artifact

import data_contracts
from data_contracts.noise import agreement_ceiling
from data_contracts.population import Finding
from data_contracts.readers import ReadError
from data_contracts.records import COLUMNS, SPLIT, Kind
from flows import checking, datasets, sources
from flows.checking import Checked, check_tables
from flows.config import DataConfig, InputError
from flows.datasets import Shares, SnapshotDamaged, read_verified, write_report, write_snapshot
from flows.lineage import content_key
from flows.place import Place
from flows.references import DataRefs, DatasetRef
from flows.sources import Tables, file_digests, load_tables
from flows.stages import BY_KEY
from rlhf_core.config import Frozen
from rlhf_core.evaluation.estimates import Estimate


class IngestPlan(Frozen):
    """What ingestion depends on."""

    data: DataConfig
    shares: Shares


@flow(name="ingest")
def ingest(data: DataConfig, shares: Shares, place: Place) -> DataRefs:
    """Make the three snapshots of a climb, or reuse them while they are intact.

    Raises:
        InputError: if a file cannot be read.
        DataRefused: naming rows, reasons and mends, if a table breaks its contract or suite.
    """
    plan = IngestPlan(data=data, shares=shares)
    key = content_key("ingest", plan, {**file_digests(data), "rules": rules_digest()}, place.seed)
    refs = DataRefs.model_validate(make_snapshots(key, plan, place))
    if not all(_intact(table) for table in refs.tables):
        refs = DataRefs.model_validate(make_snapshots.with_options(refresh_cache=True)(key, plan, place))
    return refs


@task(name="make-snapshots", persist_result=True, result_serializer="json", cache_policy=BY_KEY)
def make_snapshots(key: str, plan: IngestPlan, place: Place) -> dict[str, Any]:
    """Load, check, split and write all tables; nothing is written before all of them are sound."""
    started = time.monotonic()
    tables = load(plan, place)
    checked = check(tables.frames, plan.shares)
    refs = {kind: write(kind, table, place.storage) for kind, table in checked.items()}
    return DataRefs(
        **refs,
        ceiling=_ceiling(checked["preferences"].frame),
        skipped=tables.skipped,
        ladder_run=place.run_id,
        seconds=time.monotonic() - started,
    ).model_dump(mode="json")


@task(name="load", retries=2, retry_delay_seconds=[1, 5], retry_condition_fn=lambda *failed: _is_io(failed[-1]))
def load(plan: IngestPlan, place: Place) -> Tables:
    """Read or generate the raw tables; reading is tried again, a row that cannot be understood is not."""
    try:
        return load_tables(plan.data, seed=place.seed)
    except ReadError as error:
        raise InputError(str(error)) from None


@task(name="check")
def check(frames: dict[Kind, pd.DataFrame], shares: Shares) -> dict[Kind, Checked]:
    """Hold the tables against their contracts and suites, and publish what the suites saw."""
    checked = check_tables(frames, shares)
    for kind, table in checked.items():
        publish_findings(kind, table.population.findings)
    return checked


@functools.cache
def rules_digest() -> str:
    """SHA-256 over contracts, suites, readers and the division of tables, so that changed rules are applied again."""
    contracts = Path(data_contracts.__file__).parent
    files = [*contracts.rglob("*.py"), *contracts.rglob("*.json")]
    files += [Path(inspect.getfile(module)) for module in (checking, datasets, sources)]
    total = hashlib.sha256()
    for path in sorted(files):
        total.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()


def publish_findings(kind: Kind, findings: tuple[Finding, ...]) -> None:
    """Keep what the suite saw as a Prefect artifact."""
    create_table_artifact(
        key=f"suite-{kind}",
        table=[item._asdict() for item in findings],
        description=f"Great Expectations suite of {kind}",
    )


@task(name="write", retries=2, retry_delay_seconds=[1, 5], retry_condition_fn=lambda *failed: _is_io(failed[-1]))
def write(kind: Kind, table: Checked, storage: Path) -> DatasetRef:
    """Write a table under its digest, and beside it the report of its suite."""
    snapshot = write_snapshot(table.frame[[*COLUMNS[kind], SPLIT]], name=kind, directory=storage / "snapshots")
    write_report(table.population.report, snapshot)
    return DatasetRef(
        name=kind, digest=snapshot.digest, path=str(snapshot.path), rows=snapshot.rows, splits=snapshot.split_rows
    )


def _is_io(state: Any) -> bool:
    return isinstance(state.result(raise_on_failure=False), OSError)


def _intact(ref: DatasetRef) -> bool:
    try:
        read_verified(Path(ref.path), ref.digest)
    except (FileNotFoundError, SnapshotDamaged):
        return False
    return True


def _ceiling(preferences: pd.DataFrame) -> Estimate | None:
    found = agreement_ceiling(preferences["votes_chosen"].tolist(), preferences["votes_rejected"].tolist())
    return Estimate(*found) if found else None
