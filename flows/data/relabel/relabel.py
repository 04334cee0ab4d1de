"""Fresh pairs: answers of the newest policy, labelled, held against the contracts, kept as a snapshot of their own."""

import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import flow

from data_contracts.records import Kind
from data_contracts.suites.checks import PopulationViolation, Suites
from data_contracts.suites.drift import Profile, profile
from flows.config.data import ContractConfig, EmbeddedData, Shares
from flows.config.ladder import LadderConfig
from flows.config.relabel import Relabel
from flows.config.rounds import relabelling
from flows.data.checked import Checked
from flows.data.ingest import publish_table
from flows.data.refusal import DataRefused
from flows.data.relabel.annotators import Annotator, annotator_of, file_digest
from flows.data.relabel.label_tasks import LABELLED, draw_answers, read_choices
from flows.data.sources import Read
from flows.data.step_timer import Clock
from flows.data.tables import make_tables
from flows.data.withdrawn_rows import WithdrawnRows
from flows.registry.context import RunContext
from flows.registry.keys import DATA_CODE, content_key
from flows.registry.names import LABELLED_BY, SAMPLED_FROM
from flows.registry.references import Counts, DataRefs, DatasetRef, FreshPairs, Round, RoundModels
from flows.registry.withdrawals import withdrawals_digest, withdrawals_in_force
from flows.storage.cached_results import reuse_or_remake, sealed
from flows.storage.locks import exclusive
from flows.storage.scratch import scratch
from flows.storage.snapshots import is_intact, read_split
from flows.tasks import CACHED, retried_task
from rlhf_core.config import Frozen
from rlhf_core.embedded_world.annotators import AnnotatorConfig


class LabelPlan(Frozen):
    """What labelled pairs depend on besides the answers and what the annotator is made of."""

    relabel: Relabel
    annotators: AnnotatorConfig | None
    contract: ContractConfig
    shares: Shares


class Labelled(Frozen):
    """A snapshot of fresh pairs, and what became of the labels."""

    dataset: DatasetRef
    counts: Counts


class WaitingForLabels(Exception):
    """The next round needs labels that people have not given yet; `path` is the file that holds the pairs."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"waiting for labels: have the pairs of {path} labelled (Label Studio reads it), put the result beside it "
            f"as {path.stem}{LABELLED}.json, and run the same again"
        )
        self.path = path


def add_fresh_pairs(config: LadderConfig, data: DataRefs, last: Round, context: RunContext) -> DataRefs:
    """The data of a round: all that the last one learned from, and labelled answers of its policy.

    Raises:
        WaitingForLabels: if people are to label these and have not done so.
    """
    fresh = relabel(config, data, last.models, context)
    if isinstance(fresh, Path):
        raise WaitingForLabels(fresh)
    return data.model_copy(update={"fresh": (*last.data.fresh, fresh)})


@flow(name="relabel", flow_run_name="{context.project} relabel")
def relabel(config: LadderConfig, data: DataRefs, newest: RoundModels, context: RunContext) -> FreshPairs | Path:
    """Have answers of the newest policy compared, or reuse that; of two climbs at once, one waits for the other.

    Returns:
        The pairs; or the file that people are to label, where they have not done so.

    Raises:
        InputError: if nobody is configured to label them, or a file of labels cannot be read.
        DataRefused: naming rows, reasons and mends, if the pairs break contract or suite.
    """
    settings = relabelling(config)
    with exclusive(context.storage / "work" / f"answers-{newest.policy.digest[:16]}.lock"):
        path = draw_answers(config, settings, data.prompts, newest, context)
    withdrawals = withdrawals_in_force(context.registry().client, context.project)
    withdrawn = WithdrawnRows(withdrawals, context.registry().client)
    annotator = annotator_of(config, settings, path, newest, context, withdrawn.spare)
    if annotator is None:
        return path
    annotators = config.data.annotators if isinstance(config.data, EmbeddedData) else None
    plan = LabelPlan(relabel=settings, annotators=annotators, contract=config.contract, shares=config.shares)
    inputs = {"answers": file_digest(path), "annotator": annotator.digest, "data": data.digest}
    inputs |= withdrawals_digest(withdrawals)
    key = content_key("label", plan, inputs, context.seed, DATA_CODE)
    labelled = reuse_or_remake(
        context.storage, label, Labelled, _intact, key, annotator, path, data, config, context, withdrawn
    )
    origins = {SAMPLED_FROM: newest.policy, **({LABELLED_BY: annotator.version} if annotator.version else {})}
    update = {"name": f"preferences-{newest.round + 1}", "origins": origins, "annotator": annotator.name}
    return FreshPairs(dataset=labelled.dataset.model_copy(update=update), of=newest, counts=labelled.counts)


@retried_task("label", **CACHED)
def label(
    key: str,
    annotator: Annotator,
    path: Path,
    data: DataRefs,
    config: LadderConfig,
    context: RunContext,
    withdrawn: WithdrawnRows,
) -> dict[str, Any]:
    """Label choices, take the pairs through rules and suite, and write them; remembered under the content key."""
    with scratch(context.storage / "work", key) as work:
        reads = withdrawn.leave_out("preferences", annotator.label(read_choices(path)))
        checked = check(reads, held_out(data), config, work)
        report, written = work / "report", context.storage / "ingests" / key
        dataset = publish_table("preferences", checked, report, written, context.storage, withdrawn.targets)
        shutil.rmtree(written, ignore_errors=True)
        written.parent.mkdir(parents=True, exist_ok=True)
        os.replace(report, written)
        return sealed(Labelled(dataset=dataset, counts=checked.tables["preferences"].counts))


def check(reads: Iterator[Read], apart: Iterable[pd.DataFrame], config: LadderConfig, folder: Path) -> Checked:
    """Take fresh pairs through the rules and the suite of preferences.

    Args:
        reads: the labels.
        apart: prompts and groups that no row may train on.
        config: shares of the splits, and what happens to rows that break a rule.
        folder: where files lie for now.

    Raises:
        DataRefused: if they break a fatal rule, the suite, or leave a split empty.
    """
    clock = Clock()
    tables = make_tables(
        {"preferences": reads},
        config.shares,
        config.contract,
        folder=folder / "tables",
        clock=clock,
        held_out=apart,
        judge=False,
    )
    table = tables["preferences"]
    if problems := table.problems():
        raise DataRefused(tuple(problems))
    population = Suites(folder / "docs").check("preferences", table.numbers)
    if population.broken and config.contract.tables == "fatal":
        raise DataRefused((PopulationViolation("preferences", population),))
    profiles: dict[Kind, Profile] = {"preferences": profile(table.numbers)}
    return Checked(folder, tables, {"preferences": population}, profiles, None, {}, clock)


def held_out(data: DataRefs) -> Iterator[pd.DataFrame]:
    """Prompts and groups that the tables of a climb hold out."""
    for table in data.datasets.values():
        yield read_split(table, "test")[["prompt", "group", "source", "row"]]


def _intact(labelled: Labelled) -> bool:
    return is_intact(labelled.dataset) and Path(labelled.dataset.report).is_dir()
