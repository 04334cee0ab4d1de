"""References that stages hand to each other: names, digests and paths of models and data, never tensors."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from data_contracts.records import CONTRACT_VERSION, Kind
from flows.registry.names import WITHDRAWN_REASON
from rlhf_core.config import Frozen
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.label_quality import LabelWorth
from rlhf_core.metrics.raters import RaterFigures

DATA = "data"


class ModelRef(Frozen):
    """A registered model version.

    Attributes:
        model_id: identity of the logged model in MLflow, `m-...`.
        uri: `models:/name/version`.
        digest: SHA-256 over the names and contents of its files.
        run_id: the MLflow run that made it.
    """

    name: str
    version: str
    model_id: str
    uri: str
    digest: str
    run_id: str

    @property
    def label(self) -> str:
        """The version as people write it: `name/version`."""
        return f"{self.name}/{self.version}"


class DatasetRef(Frozen):
    """An immutable snapshot of a table.

    Attributes:
        digest, path: SHA-256 over its content, and where the snapshot lies.
        splits: rows by split.
        sources: the files or data sets that its rows come from.
        contract: version of the contract that it met.
        report: folder that says what became of the raw rows, and which were quarantined.
        origins: versions that its rows were made by, by role: `sampled-from` the policy whose answers they are,
            `labelled-by` a registered reward model that compared them.
        annotator: who compared them, in words; empty where the sources say it.
    """

    name: str
    digest: str
    path: str
    rows: int
    splits: dict[str, int]
    sources: tuple[str, ...]
    contract: str = CONTRACT_VERSION
    report: str
    origins: dict[str, ModelRef] = {}
    annotator: str = ""


class Counts(Frozen):
    """What became of the raw rows of a table: `records` is `written` + `merged` + `quarantined`.

    Attributes:
        rows: raw rows.
        records: what the format made of them, rows that do not fit it included.
        written: records of the snapshot.
        merged: records that became votes of another one, or are a part that another row has too, such as its prompt.
        quarantined: records set aside.
        by_rule: how many of them broke each rule; one may break several.
        left_out: parts of raw rows that the format itself does not count as records, by reason.
        sources: records of the snapshot by file.
        special_tokens, rows_with_special_tokens: how often sound records write each of some model, and how many do.
    """

    rows: int
    records: int
    written: int
    merged: int
    quarantined: int
    by_rule: dict[str, int]
    left_out: dict[str, int]
    sources: dict[str, int]
    special_tokens: dict[str, int] = {}
    rows_with_special_tokens: int = 0

    @property
    def withdrawn(self) -> int:
        """Rows and votes that were left out as their data were withdrawn."""
        return sum(count for reason, count in self.left_out.items() if reason.startswith(WITHDRAWN_REASON))


class RoundModels(Frozen):
    """What a round came to: the policy whose answers the next one compares, and what it was trained and measured by."""

    round: int
    policy: ModelRef
    reward_model: ModelRef
    judge: ModelRef


class FreshPairs(Frozen):
    """Labelled answers of the policy of round `of`, which the next one learns from, and what became of the labels."""

    dataset: DatasetRef
    of: RoundModels
    counts: Counts


class DataRefs(Frozen):
    """The tables of a climb and what they were made from.

    Attributes:
        datasets: snapshots by kind; a climb needs all three, ingestion alone takes what there is.
        counts: what became of the raw rows, by kind.
        labels: what the labels of the preferences are worth, None without preferences.
        raters: what is known of each who labelled preferences under a name.
        estimates: what prompts and the sources of labels are like, which gates judge; as far as known.
        drift: how the tables differ from those that the champion was trained on, a sentence each.
        remarks: what a person should know of the files, such as labels that no format reads, a sentence each.
        growth: how the tables and files differ from those of the last ingestion, a sentence each.
        report: folder with the page about the data and the Data Docs.
        ladder_run: the climb that ingested them; a later climb that finds them here has reused them.
        fresh: labelled answers of the policies of earlier rounds, the oldest first.
    """

    datasets: dict[Kind, DatasetRef]
    counts: dict[Kind, Counts]
    labels: LabelWorth | None = None
    raters: dict[str, RaterFigures] = {}
    estimates: dict[str, Estimate] = {}
    drift: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    growth: tuple[str, ...] = ()
    report: str
    ladder_run: str
    seconds: float
    fresh: tuple[FreshPairs, ...] = ()

    @property
    def demonstrations(self) -> DatasetRef:
        """What SFT learns from."""
        return self.datasets["demonstrations"]

    @property
    def preferences(self) -> DatasetRef:
        """What reward models learn from."""
        return self.datasets["preferences"]

    @property
    def prompts(self) -> DatasetRef:
        """What the policy answers."""
        return self.datasets["prompts"]

    @property
    def all_pairs(self) -> dict[str, DatasetRef]:
        """Everything that says what people prefer, by use: the preferences, and the fresh pairs of each round."""
        return {"training": self.preferences, **{f"training-{item.of.round + 1}": item.dataset for item in self.fresh}}

    @property
    def ceiling(self) -> Estimate | None:
        """Agreement that a perfect judge would reach with the held-out labels, None where the data cannot say."""
        return self.labels.noise.get("held_out_ceiling") if self.labels else None

    @property
    def measured(self) -> dict[str, str]:
        """Digest of the ceiling, which reward models are held against and no snapshot says; by name."""
        known = {} if self.ceiling is None else {"ceiling": json.dumps(self.ceiling)}
        return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in known.items()}

    @property
    def tables(self) -> tuple[DatasetRef, ...]:
        """The tables in the order in which the ladder uses them, and then the fresh pairs."""
        return (*self.datasets.values(), *(item.dataset for item in self.fresh))

    @property
    def digest(self) -> str:
        """SHA-256 over the digests of all tables."""
        named = sorted(f"{table.name}:{table.digest}" for table in self.tables)
        return hashlib.sha256("\n".join(named).encode()).hexdigest()

    @property
    def stage(self) -> str:
        """What the verdicts on the data are kept under."""
        return DATA

    @property
    def label(self) -> str:
        """The data as people write them."""
        return f"data {self.digest[:12]}"

    @property
    def subject(self) -> str:
        """What alerts about the data name."""
        return f"data.{self.digest[:12]}"


class StageRecord(Frozen):
    """What is remembered of a finished stage.

    Attributes:
        key: content key of the stage: configuration, inputs, seed and code.
        models: registered versions by artifact name.
        what: what each of them is.
        parents: models that went in, by role.
        datasets: snapshots that went in, by use.
        estimates: the figures that gates judge.
        samples: a few prompts with responses.
        outcome: what ended training before its time and which state is the result, or which rows judged nothing;
            empty where there is nothing to say.
        ladder_run: the climb that made it; a later climb that finds it here has reused it.
        seconds: training time in the climb that made it.
    """

    stage: str
    key: str
    ladder_run: str
    run_id: str
    models: dict[str, ModelRef]
    what: dict[str, str] = {}
    parents: dict[str, ModelRef] = {}
    datasets: dict[str, DatasetRef] = {}
    estimates: dict[str, Estimate]
    samples: list[dict[str, str]] = []
    outcome: str = ""
    seconds: float = 0.0

    @property
    def model(self) -> ModelRef:
        """The main model of the stage, which is registered by the stage's name; most stages make one."""
        return max(self.models.values(), key=lambda ref: ref.name.endswith(f"-{self.stage}"))

    @property
    def label(self) -> str:
        """The versions as people write them."""
        return ", ".join(ref.label for ref in self.models.values())

    @property
    def subject(self) -> str:
        """What alerts about the stage name."""
        return f"model.{self.model.name}"


class LadderResult(Frozen):
    """Outcome of a climb.

    Attributes:
        versions: registered versions by registered name.
        retrained: stages that were trained in this climb; empty when there was nothing to do.
        published: whether the versions got the alias.
        waits_for: file that people are to label before the next round, None where nothing is waited for.
    """

    run_id: str
    versions: dict[str, ModelRef]
    retrained: list[str]
    published: bool
    waits_for: str | None = None


class StageOutcome(NamedTuple):
    """A stage as the summary shows it."""

    record: StageRecord
    reused: bool


class Round(NamedTuple):
    """A round of the ladder that came to its end.

    Attributes:
        data: its tables.
        stages: its stages by name.
        retrained: those that it trained.
    """

    number: int
    data: DataRefs
    stages: Mapping[str, StageOutcome]
    retrained: Sequence[str]

    @property
    def retrained_by_round(self) -> list[str]:
        """Stages that it trained; those of later rounds with its number."""
        return [stage if self.number == 1 else f"{stage} of round {self.number}" for stage in self.retrained]

    @property
    def models(self) -> RoundModels:
        """Its policy, and what that was trained and measured by."""
        policy, reward_model, judge = (self.stages[stage].record.model for stage in ("policy", "reward-model", "judge"))
        return RoundModels(round=self.number, policy=policy, reward_model=reward_model, judge=judge)
