"""Ingestion: read or generate tables, hold them against their contracts, keep them as snapshots with a report."""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

from data_contracts.records import Kind
from data_contracts.suites.checks import Population, PopulationViolation, Suites
from data_contracts.suites.drift import profile
from flows.config.data import ContractConfig, DataConfig, EmbeddedData, Shares
from flows.config.errors import InputError
from flows.config.ladder import IngestConfig
from flows.data.audits.label_report import odds_figure
from flows.data.audits.labels import measure_labels
from flows.data.audits.prompts import measure_prompts
from flows.data.checked import Checked
from flows.data.growth import files_read, growth
from flows.data.known_before import Before, known_before
from flows.data.lineage_events import ALONE, told_ingestion
from flows.data.quarantine import QuarantineExceeded
from flows.data.raters import Raters
from flows.data.refusal import DataRefused
from flows.data.report import Examined, show, write_page
from flows.data.sources import file_digests, held_out_prompts, typed_paths
from flows.data.stated import state_data
from flows.data.step_timer import Clock
from flows.data.tables import make_tables
from flows.data.withdrawn_rows import WithdrawnRows
from flows.registry.context import RunContext
from flows.registry.contributors import CONTRIBUTORS_FILE
from flows.registry.dataset_uploads import DIGEST_FILE, FILES, log_data
from flows.registry.keys import DATA_CODE, content_key
from flows.registry.names import STAGE_TAG
from flows.registry.references import DataRefs, DatasetRef
from flows.registry.statements import conclude, table_subject
from flows.storage.cached_results import reuse_or_remake, sealed
from flows.storage.scratch import scratch
from flows.storage.snapshots import is_intact
from flows.tasks import CACHED, QUARANTINE_EXCEEDED, retried_task, tell
from rlhf_core.config import Frozen
from rlhf_core.metrics.label_sources import least_source_agreement


class IngestPlan(Frozen):
    """What ingestion depends on."""

    data: DataConfig
    contract: ContractConfig
    shares: Shares


def plan_of(config: IngestConfig) -> IngestPlan:
    """The part of a configuration that decides what comes out of ingestion."""
    return IngestPlan(data=config.data, contract=config.contract, shares=config.shares)


@flow(name="ingest", flow_run_name="{context.project} ingest")
def ingest(plan: IngestPlan, context: RunContext) -> DataRefs:
    """Make the snapshots of a climb, or reuse them while they are intact; of two at once, one waits for the other.

    Raises:
        InputError: if a file cannot be read.
        DataRefused: naming rows, reasons and mends, if a table breaks its contract or suite.
    """
    before, sources = known_before(context), _sources_of(plan.data)
    key = content_key("ingest", plan, sources | before.inputs, context.seed, DATA_CODE)
    refs = reuse_or_remake(context.storage, make_snapshots, DataRefs, _intact, key, plan, context, before, sources)
    return refs.model_copy(update={"growth": growth(before.last, refs.datasets, files_read(sources))})


def ingest_alone(config: IngestConfig) -> DataRefs:
    """Ingest without a climb; what came of it is shown, and kept in a run of its own once all is well."""
    context = RunContext(
        project=config.project,
        seed=config.seed,
        storage=config.storage,
        threads=None,
        run_id=ALONE,
        lineage=config.lineage,
        audit=config.audit,
    )
    refs = ingest(plan_of(config), context)
    registry = context.registry()
    run_id = registry.start_run("ingest", tags={STAGE_TAG: "ingest"})
    log_data(refs, config.project, registry, run_id)
    conclude(registry, registry, run_id, "ingest", "FINISHED", map(table_subject, refs.tables))
    show(refs)
    return refs


@task(name="make-snapshots", **CACHED)
def make_snapshots(
    key: str, plan: IngestPlan, context: RunContext, before: Before, sources: Mapping[str, str]
) -> dict[str, Any]:
    """Load, check, split and write all tables; nothing gets its name before all of them are sound."""
    started = time.monotonic()
    with scratch(context.storage / "work", key) as folder, told_ingestion(plan.data, key, context) as told:
        checked = check(plan, context, before, sources, folder)
        _refuse_changed(plan.data, sources)
        publish_findings(checked.populations)
        refs = publish(key, checked, context, started, before, files_read(sources))
        state_data(refs, plan, {**sources, **before.inputs}, context)
        told += refs.tables
        return sealed(refs)


@retried_task("check", cache_policy=NO_CACHE)
def check(plan: IngestPlan, context: RunContext, before: Before, sources: Mapping[str, str], work: Path) -> Checked:
    """Take the tables through rules and suites; a failed read is tried again, a row that is wrong is not."""
    folder, clock = Path(tempfile.mkdtemp(dir=work)), Clock()
    champions = before.profiles(context.storage)
    withdrawn = WithdrawnRows(before.withdrawals, context.registry().client)
    with clock.step("generate" if isinstance(plan.data, EmbeddedData) else "open"):
        raters = Raters.of(plan.data, plan.contract.raters, sources, withdrawn, seed=context.seed)
        reads = raters.open_tables()
    if not reads:
        raise InputError("field 'data': no table has a source; name at least one")
    apart = held_out_prompts(plan.data, sources)
    near = None if isinstance(plan.data, EmbeddedData) else plan.contract.near_held_out
    by_kind = make_tables(reads, plan.shares, plan.contract, folder=folder, clock=clock, held_out=apart, near=near)
    if problems := [problem for table in by_kind.values() for problem in table.problems()]:
        for problem in problems:
            if isinstance(problem, QuarantineExceeded):
                tell(QUARANTINE_EXCEEDED, context.project, f"rlhf.data.{context.project}", {"reason": str(problem)})
        refused = [kind for kind, table in by_kind.items() if table.problems()]
        raise DataRefused(tuple(problems), typed_paths(plan.data, refused))
    with clock.step("suites"):
        suites = Suites(folder / "docs")
        populations = {str(kind): suites.check(kind, table.numbers) for kind, table in by_kind.items()}
        drifts = {
            f"{kind}-drift": suites.check_drift(kind, by_kind[kind].numbers, champions[kind])
            for kind in champions
            if kind in by_kind
        }
        suites.build_docs()
    fatal = dict(populations) if plan.contract.tables == "fatal" else {}
    fatal |= drifts if plan.contract.drift == "fatal" else {}
    if broken := [PopulationViolation(name, population) for name, population in fatal.items() if population.broken]:
        refused = [kind for kind in by_kind if any(one.suite.startswith(kind) for one in broken)]
        raise DataRefused(tuple(broken), typed_paths(plan.data, refused))
    profiles = {kind: profile(table.numbers) for kind, table in by_kind.items()}
    with clock.step("what labels are worth"):
        worth = measure_labels(by_kind["preferences"]) if "preferences" in by_kind else None
    with clock.step("what raters are like"):
        figures = raters.figures()
    with clock.step("what prompts are like"):
        estimates = measure_prompts(by_kind) | (least_source_agreement(worth.sources) if worth else {})
    return Checked(folder, by_kind, populations | drifts, profiles, worth, estimates, clock, figures, raters.remarks())


def publish_findings(populations: Mapping[str, Population]) -> None:
    """Keep what the suites saw as a Prefect artifact."""
    rows = [
        {"suite": name, **item._asdict()} for name, population in populations.items() for item in population.findings
    ]
    create_table_artifact(key="data-suites", table=rows, description="Great Expectations suites of the data")


def publish(
    key: str, checked: Checked, context: RunContext, started: float, before: Before, files: Mapping[str, str]
) -> DataRefs:
    """Give snapshots their names, and put the report of this ingestion in its place."""
    report, written = checked.folder / "report", context.storage / "ingests" / key
    without = before.withdrawn
    refs = DataRefs(
        datasets={
            kind: publish_table(kind, checked, report, written, context.storage, without) for kind in checked.tables
        },
        counts={kind: table.counts for kind, table in checked.tables.items()},
        labels=checked.worth,
        raters=dict(checked.raters),
        estimates=checked.estimates,
        drift=checked.broken(drift=True),
        remarks=checked.remarks,
        report=str(written),
        ladder_run=context.run_id,
        seconds=time.monotonic() - started,
    )
    at_hand = {kind: ref.model_copy(update={"report": str(report / kind)}) for kind, ref in refs.datasets.items()}
    refs = refs.model_copy(update={"growth": growth(before.last, at_hand, files)})
    _write_json(report / FILES, files)
    if checked.worth:
        _write_json(report / "preferences" / "labels.json", checked.worth.model_dump(mode="json"))
        odds_figure(checked.worth).savefig(report / "preferences" / "odds.png")
    examples = {kind: table.quarantine.examples for kind, table in checked.tables.items()}
    seen = Examined(examples, checked.profiles, checked.populations, checked.clock)
    write_page(refs, seen, context.project, report / "report.html")
    (checked.folder / "docs").rename(report / "docs")
    shutil.rmtree(written, ignore_errors=True)
    written.parent.mkdir(parents=True, exist_ok=True)
    os.replace(report, written)
    return refs


def publish_table(
    kind: Kind, checked: Checked, report: Path, written: Path, storage: Path, without: Sequence[str]
) -> DatasetRef:
    """Give a snapshot its name in the storage folder, and lay out its report in a folder that becomes `written`.

    `without` is what was withdrawn and left out, as `Withdrawal.target` names it.
    """
    table = checked.tables[kind]
    snapshot = table.snapshot.publish(kind, storage / "snapshots")
    _write_json(snapshot.path.with_suffix(".profile.json"), checked.profiles[kind])
    (report / kind).mkdir(parents=True)
    for file in filter(Path.exists, (table.quarantine.path, table.raw_votes.path)):
        file.rename(report / kind / file.name)
    _write_json(report / kind / "counts.json", table.counts.model_dump(mode="json"))
    _write_json(report / kind / CONTRIBUTORS_FILE, table.contributions.contributors(without).model_dump(mode="json"))
    _write_json(report / kind / "suite.json", checked.populations[kind].report)
    (report / kind / DIGEST_FILE).write_text(snapshot.digest, encoding="utf-8")
    return DatasetRef(
        name=kind,
        digest=snapshot.digest,
        path=str(snapshot.path),
        rows=snapshot.rows,
        splits=snapshot.split_rows,
        sources=tuple(table.counts.sources),
        report=str(written / kind),
    )


def _sources_of(data: DataConfig) -> dict[str, str]:
    """Digests of all files that the tables are made from, those that define formats included."""
    if isinstance(data, EmbeddedData):
        return {}
    own = {f"format:{path.name}": hashlib.sha256(path.read_bytes()).hexdigest() for path in data.formats}
    return {**file_digests(data), **own}


def _refuse_changed(data: DataConfig, before: Mapping[str, str]) -> None:
    """Refuse files that are others now than when their digests were taken, by which what is made of them is found.

    What has come since is left to the next ingestion.
    """
    now = _sources_of(data)
    changed = sorted(name for name in before if now.get(name) != before[name])
    if changed:
        use, *_, name = changed[0].split(":", 2)
        raise InputError(f"field 'data.{use}': {name} changed while it was read: run again once nobody writes to it")


def _write_json(path: Path, content: Any) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=2), encoding="utf-8")
    temporary.replace(path)


def _intact(refs: DataRefs) -> bool:
    return all(map(is_intact, refs.tables)) and Path(refs.report).is_dir()
