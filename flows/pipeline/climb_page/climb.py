"""A climb as MLflow keeps it: verdicts, figures, curves and held-out rows of its stages, read back."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from mlflow import MlflowClient
from mlflow.entities import Run
from pydantic import ValidationError

from flows.config.errors import InputError
from flows.config.freshness import FreshnessConfig
from flows.lineage.archive import Archive
from flows.lineage.graph import Version
from flows.lineage.story import Story, tell
from flows.lineage.training_record import Training
from flows.outages import unless_away
from flows.pipeline.freshness import overdue_now
from flows.promotion.comparison import Comparison
from flows.registry.dataset_uploads import GROWTH
from flows.registry.differences import differences
from flows.registry.names import (
    CHAMPION,
    CONFIGURATION,
    EVIDENCE,
    OUTCOME_TAG,
    PARENT_RUN_TAG,
    REPEATED_TAG,
    STAGE_PREFIX,
    STAGE_TAG,
    STAGES,
    champion_evidence,
    champion_record,
    registered_name,
    verdicts_record,
)
from flows.registry.references import DATA
from flows.registry.runs import ESTIMATES, FINAL
from flows.registry.statements import UNSIGNED
from rlhf_core.gates.gate import Verdict
from rlhf_core.metrics.champion_evidence import ANSWERS
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.label_quality import LabelWorth

LADDER = "ladder"
"""Begins what a run of the ladder says that it is, in `STAGE_TAG`; rounds add their number."""

Curve = list[tuple[int, float]]
"""What a metric was, by step."""


class StageRun(NamedTuple):
    """What is kept of a stage.

    Attributes:
        training: its run.
        figures: by name, with their intervals.
        series: numbers by name, such as the margins of held-out pairs.
        curves: of its metrics, by name.
        rows: held-out rows that the figures rest on, by name.
    """

    version: Version
    training: Training | None
    figures: Mapping[str, Estimate]
    series: Mapping[str, list[float]]
    curves: Mapping[str, Curve]
    rows: Mapping[str, pa.Table]

    @property
    def texts_hashed(self) -> bool:
        """Whether digests stand in place of the texts."""
        return any(map(hashed, self.rows.values()))


class Climb(NamedTuple):
    """What is kept of a climb.

    Attributes:
        settings: its whole configuration.
        verdicts: of its gates, by what they judged, in the order of the ladder.
        stages: those that it reached, in that order.
        champions: versions that hold the alias now, by stage, with what is kept of them.
        comparisons: its versions beside the champions of that time, by stage, where gates asked for that.
        beside: answers of its policy and that champion to the prompts of that comparison, where they are kept.
        worth: what the labels of the preferences are worth.
        data: what the prompts are like.
        outside: figures that no gate saw, such as the gold reward, by name.
        story: where the last version that it made came from.
        overdue: what of its project is older than it may become, a sentence each.
        growth: what was new in its data, a sentence each.
        changed: what went into its versions that did not go into the champions, by stage, a line each.
        rival: what stands in the champion's place where a person named another version; empty for the champion.
    """

    run: Run
    project: str
    settings: Mapping[str, Any]
    verdicts: Mapping[str, list[Verdict]]
    stages: Mapping[str, StageRun]
    champions: Mapping[str, StageRun]
    comparisons: Mapping[str, Comparison]
    worth: LabelWorth | None
    data: Mapping[str, Estimate]
    outside: Mapping[str, Estimate]
    story: Story | None
    beside: pa.Table | None = None
    growth: Sequence[str] = ()
    overdue: Sequence[str] = ()
    changed: Mapping[str, Sequence[str]] = MappingProxyType({})
    rival: str = ""

    @property
    def run_id(self) -> str:
        """Its run in MLflow."""
        return str(self.run.info.run_id)

    @property
    def ended(self) -> str:
        """What ended training of the policy before its time, as the climb said it; empty where nothing did."""
        return self.outcome.partition(". policy ")[2].removesuffix(f". {UNSIGNED}")

    @property
    def other(self) -> str:
        """What its versions are compared with, in words."""
        return self.rival or "the champion"

    @property
    def outcome(self) -> str:
        """In a sentence what came of it; empty while it runs."""
        return str(self.run.data.tags.get(OUTCOME_TAG, ""))

    @property
    def label(self) -> str:
        """What it made last, as people write it."""
        return next((stage.version.label for stage in reversed([*self.stages.values()])), self.project)


def hashed(table: pa.Table) -> bool:
    """Whether digests stand in place of the texts of some rows."""
    return (table.schema.metadata or {}).get(b"texts") == b"hashed"


def find_climb(client: MlflowClient, named: str | None, project: str | None) -> str:
    """The run that a person means.

    Args:
        client: of the tracking server.
        named: a run of a ladder or of one of its stages, or a version; None for the newest ladder of the project.
        project: name of the experiment; None for any.

    Raises:
        InputError: if there is none.
    """
    if named is None:
        run_id = _newest(client, project)
    elif "/" in named or "@" in named:
        run_id = Archive(client).find(named).run_id
    else:
        run_id = named
    tags = None
    with unless_away():
        tags = client.get_run(run_id).data.tags
    if tags is None:
        raise InputError(f"{named} is no run and no version in the registry; name a run's id or name/version")
    if STAGE_TAG not in tags:
        raise InputError(f"run {named} is of no climb; `rlhf report` without a name takes the newest")
    return str(tags.get(REPEATED_TAG) or tags.get(PARENT_RUN_TAG, run_id))


def _newest(client: MlflowClient, project: str | None) -> str:
    known = client.search_experiments() if project is None else [client.get_experiment_by_name(project)]
    experiments = [experiment.experiment_id for experiment in known if experiment is not None]
    query, newest_first = f"tags.`{STAGE_TAG}` LIKE '{LADDER}%'", ["attributes.start_time DESC"]
    runs = client.search_runs(experiments, query, max_results=1, order_by=newest_first) if experiments else []
    if not runs:
        of = f"project {project} has" if project else "there is"
        raise InputError(f"{of} no climb yet; start one with `rlhf run`, or name a run")
    return str(runs[0].info.run_id)


def read_climb(client: MlflowClient, run_id: str) -> Climb:
    """Read a climb back; what it did not keep is empty or None."""
    archive = Archive(client)
    run, settings = client.get_run(run_id), archive.document(run_id, CONFIGURATION) or {}
    project = client.get_experiment(run.info.experiment_id).name
    stages: dict[str, StageRun] = {}
    for stage in STAGES:
        label = run.data.tags.get(f"{STAGE_PREFIX}{stage}", "").partition(", ")[0]
        with suppress(InputError):  # the version was deleted since
            if label:
                stages[stage] = read_version(archive, label, curves=stage == "policy")
    champions: dict[str, StageRun] = {}
    for made in stages:
        with suppress(InputError):  # no champion yet
            champions[made] = read_version(archive, f"{registered_name(project, made)}@{CHAMPION}", curves=False)
    return Climb(
        run=run,
        project=project,
        settings=settings,
        verdicts={judged: found for judged in (DATA, *STAGES) if (found := _verdicts(archive, run_id, judged))},
        stages=stages,
        champions=champions,
        comparisons={made: each for made in stages if (each := _comparison(archive, run_id, project, made))},
        worth=_worth(archive, run_id),
        data=_estimates(archive, run_id, "data/estimates.json"),
        outside=_estimates(archive, run_id, "gold.json") | _estimates(archive, run_id, "outside_measures.json"),
        beside=read_rows(archive, run_id, champion_evidence(registered_name(project, "policy"), ANSWERS)),
        overdue=overdue_now(client, project, FreshnessConfig.model_validate(settings.get("freshness", {}))),
        changed={made: changes(client, run, champions[made]) for made, run in stages.items() if made in champions},
        growth=(archive.document(run_id, GROWTH) or {}).get("growth", ()),
        story=tell(archive, next(reversed(stages.values())).version.label) if stages else None,
    )


def changes(client: MlflowClient, made: StageRun, other: StageRun) -> list[str]:
    """What went into a version that did not go into another one; nothing where their runs are gone."""
    with unless_away():
        return differences(client, made.version, other.version)
    return []


def read_version(archive: Archive, label: str, *, curves: bool) -> StageRun:
    """What is kept of a version, with or without the curves of its training."""
    version = archive.find(label)
    training = archive.training(version.run_id)
    return StageRun(
        version=version,
        training=training,
        figures=_estimates(archive, version.run_id, ESTIMATES),
        series=archive.document(version.run_id, "series.json") or {},
        curves=_curves(archive.client, version.run_id) if curves and training is not None else {},
        rows={
            name: rows for name in version.evidence if (rows := read_rows(archive, version.run_id, name)) is not None
        },
    )


def _estimates(archive: Archive, run_id: str, path: str) -> dict[str, Estimate]:
    try:
        return {name: Estimate.from_json(fields) for name, fields in (archive.document(run_id, path) or {}).items()}
    except (AttributeError, KeyError, TypeError):
        return {}


def _verdicts(archive: Archive, run_id: str, judged: str) -> list[Verdict]:
    document = archive.document(run_id, verdicts_record(judged)) or {"verdicts": []}
    return [Verdict.model_validate(verdict) for verdict in document["verdicts"]]


def _comparison(archive: Archive, run_id: str, project: str, stage: str) -> Comparison | None:
    try:
        document = archive.document(run_id, champion_record(registered_name(project, stage)))
        return Comparison.model_validate_json(json.dumps(document))
    except ValidationError:
        return None


def _worth(archive: Archive, run_id: str) -> LabelWorth | None:
    try:
        return LabelWorth.model_validate_json(json.dumps(archive.document(run_id, "labels/figures.json")))
    except ValidationError:
        return None


def _curves(client: MlflowClient, run_id: str) -> dict[str, Curve]:
    names = [name for name in client.get_run(run_id).data.metrics if not name.startswith(FINAL)]
    return {name: [(item.step, item.value) for item in client.get_metric_history(run_id, name)] for name in names}


def read_rows(archive: Archive, run_id: str, name: str) -> pa.Table | None:
    """A table of held-out rows that a run keeps, by its name among the evidence; None where it is not kept."""
    with archive.file(run_id, f"{EVIDENCE}/{name}.parquet") as file:
        return None if file is None else pq.read_table(file)
