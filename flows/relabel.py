"""Fresh pairs: answers of the newest policy, labelled, held against the contracts, kept as a snapshot of their own."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import flow, task

from data_contracts.drift import Profile, profile
from data_contracts.formats.convert import SourceRow, convert_rows
from data_contracts.population import PopulationViolation, Suites
from data_contracts.records import Kind
from flows.choices import LABELLED, SEEDS_APART, Asked, draw_answers, labelled_file, read_choices, read_labels
from flows.clock import Clock
from flows.config import InputError, LadderConfig
from flows.data_config import ContractConfig, EmbeddedData
from flows.datasets import Shares, SnapshotDamaged, read_split, verify
from flows.ingest import Checked, DataRefused, publish_table, rules_digest
from flows.lineage import content_key
from flows.locks import exclusive
from flows.place import Place
from flows.reading import BATCH_ROWS
from flows.references import Counts, DataRefs, DatasetRef, FreshPairs, ModelRef, Newest
from flows.relabel_config import ByAnnotators, ByJudge, ByPeople, Relabel
from flows.report.summary import Round
from flows.retries import BACKOFF, RETRIES, retry_infrastructure
from flows.sources import Read
from flows.stages import BY_KEY
from flows.tables import make_tables
from flows.taken import files_of, name_of, registered
from rlhf_core.config import Frozen
from rlhf_core.records import Votes, decide
from rlhf_core.refresh import ask_reward_model
from rlhf_core.worlds.helpdesk.annotators import AnnotatorConfig, annotate


class LabelPlan(Frozen):
    """What labelled pairs depend on besides the answers and what the annotator is made of."""

    relabel: Relabel
    annotators: AnnotatorConfig | None
    contract: ContractConfig
    shares: Shares


@dataclass(frozen=True)
class Annotator:
    """Who labels choices.

    Attributes:
        name: in words.
        digest: of what it is made of that no configuration says.
        version: where it is a registered reward model.
        label: reads or makes the labels.
    """

    name: str
    digest: str
    version: ModelRef | None
    label: Callable[[Sequence[Asked]], Iterator[Read]]


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


def add_fresh_pairs(config: LadderConfig, data: DataRefs, last: Round, place: Place) -> DataRefs:
    """The data of a round: all that the last one learned from, and labelled answers of its policy.

    Raises:
        WaitingForLabels: if people are to label these and have not done so.
    """
    fresh = relabel(config, data, last.newest, place)
    if isinstance(fresh, Path):
        raise WaitingForLabels(fresh)
    return data.model_copy(update={"fresh": (*last.data.fresh, fresh)})


@flow(name="relabel", flow_run_name="{place.project} relabel")
def relabel(config: LadderConfig, data: DataRefs, newest: Newest, place: Place) -> FreshPairs | Path:
    """Have answers of the newest policy compared, or reuse that; of two climbs at once, one waits for the other.

    Returns:
        The pairs; or the file that people are to label, where they have not done so.

    Raises:
        InputError: if nobody is configured to label them, or a file of labels cannot be read.
        DataRefused: naming rows, reasons and mends, if the pairs break contract or suite.
    """
    settings = relabelling(config)
    with exclusive(place.storage / "work" / f"answers-{newest.policy.digest[:16]}.lock"):
        path = draw_answers(config, settings, data.prompts, newest, place)
    annotator = annotator_of(config, settings, path, newest, place)
    if annotator is None:
        return path
    annotators = config.data.annotators if isinstance(config.data, EmbeddedData) else None
    plan = LabelPlan(relabel=settings, annotators=annotators, contract=config.contract, shares=config.shares)
    inputs = {"answers": _digest(path), "annotator": annotator.digest, "rules": rules_digest(), "data": data.digest}
    key = content_key("label", plan, inputs, place.seed)
    with exclusive(place.storage / "work" / f"{key}.lock"):
        made = Labelled.model_validate(label(key, annotator, path, data, newest, config, place))
        if not _intact(made.dataset):
            fresh_one = label.with_options(refresh_cache=True)
            made = Labelled.model_validate(fresh_one(key, annotator, path, data, newest, config, place))
    origins = {"sampled-from": newest.policy, **({"labelled-by": annotator.version} if annotator.version else {})}
    named = {"name": f"preferences-{newest.round + 1}", "origins": origins, "annotator": annotator.name}
    return FreshPairs(dataset=made.dataset.model_copy(update=named), of=newest, counts=made.counts)


@task(
    name="label",
    persist_result=True,
    result_serializer="json",
    cache_policy=BY_KEY,
    retries=RETRIES,
    retry_delay_seconds=BACKOFF,
    retry_condition_fn=retry_infrastructure,
)
def label(
    key: str, annotator: Annotator, path: Path, data: DataRefs, newest: Newest, config: LadderConfig, place: Place
) -> dict[str, Any]:
    """Label choices, take the pairs through rules and suite, and write them; remembered under the content key."""
    with tempfile.TemporaryDirectory(dir=place.storage / "work", prefix="label-") as work:
        reads = annotator.label(read_choices(path))
        checked = check(reads, held_out(data), config, Path(work))
        report, written = Path(work) / "report", place.storage / "ingests" / key
        dataset = publish_table("preferences", checked, report, written, place.storage)
        shutil.rmtree(written, ignore_errors=True)
        written.parent.mkdir(parents=True, exist_ok=True)
        os.replace(report, written)
        return Labelled(dataset=dataset, counts=checked.tables["preferences"].counts).model_dump(mode="json")


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
    made = make_tables(
        {"preferences": reads},
        config.shares,
        config.contract,
        folder=folder / "tables",
        clock=clock,
        held_out=apart,
        judge=False,
    )
    table = made["preferences"]
    if problems := table.problems():
        raise DataRefused(tuple(problems))
    seen = Suites(folder / "docs").check("preferences", table.numbers)
    if seen.broken:
        raise DataRefused((PopulationViolation("preferences", seen),))
    profiles: dict[Kind, Profile] = {"preferences": profile(table.numbers)}
    return Checked(folder, made, {"preferences": seen}, profiles, None, {}, clock)


def held_out(data: DataRefs) -> Iterator[pd.DataFrame]:
    """Prompts and groups that the tables of a climb hold out."""
    for table in data.datasets.values():
        yield read_split(table, "test")[["prompt", "group"]]


def relabelling(config: LadderConfig) -> Relabel:
    """How fresh answers are labelled.

    Raises:
        InputError: if nobody is configured to do so, or annotators who know only the embedded world.
    """
    if config.relabel is None:
        raise InputError(
            "field 'relabel' is missing, and another round needs someone to label the answers of the newest policy; "
            "add relabel: {by: annotators}, {by: judge, model: models:/name/version} or {by: people}"
        )
    if isinstance(config.relabel, ByAnnotators) and not isinstance(config.data, EmbeddedData):
        raise InputError(
            "field 'relabel.by': annotators know only the embedded world, and data.kind is another; "
            "use judge or people here, or climb once"
        )
    return config.relabel


def annotator_of(config: LadderConfig, settings: Relabel, path: Path, newest: Newest, place: Place) -> Annotator | None:
    """Who labels; None while people have not."""
    seed = place.seed + SEEDS_APART * newest.round
    source = newest.policy.label
    match settings:
        case ByAnnotators():
            return _simulated(config, settings, source, seed)
        case ByJudge():
            return _judge(config, settings, source, seed, place)
        case ByPeople():
            found = labelled_file(path)
            if found is None:
                return None
            return Annotator(f"people, {found.name}", _digest(found), None, lambda asked: read_labels(found, asked))


def _simulated(config: LadderConfig, settings: ByAnnotators, source: str, seed: int) -> Annotator:
    if not isinstance(config.data, EmbeddedData):
        raise TypeError("simulated annotators know only the embedded world")
    annotators = config.data.annotators
    biases = {name: getattr(annotators, name) for name in ("length_bias", "flattery_bias", "careless_share")}
    said = ", ".join(f"{name} {value:g}" for name, value in biases.items() if value)

    def votes(asked: Sequence[Asked]) -> Iterator[Read]:
        cast = annotate(annotators, [item.choice for item in asked], votes=settings.votes, seed=seed)
        return _as_reads(asked, cast, source)

    name = f"{settings.votes} simulated annotators{f' ({said})' if said else ''}"
    return Annotator(name, "", None, votes)


def _judge(config: LadderConfig, settings: ByJudge, source: str, seed: int, place: Place) -> Annotator:
    registry = place.registry()
    version = registered(settings.model, registry)

    def votes(asked: Sequence[Asked]) -> Iterator[Read]:
        cast = ask_reward_model(
            files_of(settings.model, registry),
            [item.choice for item in asked],
            config.reward_model,
            votes=settings.votes,
            drawn=settings.labels == "drawn",
            seed=seed,
        )
        return _as_reads(asked, cast, source)

    name = f"{name_of(settings.model)}, {settings.labels} labels"
    return Annotator(name, version.digest if version else "", version, votes)


def _as_reads(asked: Sequence[Asked], votes: Sequence[Votes], source: str) -> Iterator[Read]:
    """Labels as batches of records; their source is the policy that gave the answers."""
    rows = iter(
        SourceRow(source, number, _record(item, cast))
        for number, (item, cast) in enumerate(zip(asked, votes, strict=True), start=1)
    )
    while chunk := list(islice(rows, BATCH_ROWS)):
        yield Read(convert_rows("preferences", lambda record: [record], chunk), is_label=False)


def _record(item: Asked, votes: Votes) -> dict[str, Any]:
    pair = decide(item.choice, votes)
    texts = {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected, "group": item.group}
    return {**texts, "votes_chosen": max(votes), "votes_rejected": min(votes)}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _intact(dataset: DatasetRef) -> bool:
    try:
        verify(Path(dataset.path), dataset.digest)
    except (FileNotFoundError, SnapshotDamaged):
        return False
    return Path(dataset.report).is_dir()
