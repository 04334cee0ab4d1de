"""The dossier of a version: what is recorded of it, of every version it stands on, and of their data."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from mlflow.entities import Run
from pydantic import ValidationError

from flows.lineage.archive import Archive
from flows.lineage.evidence import recorded_figures
from flows.lineage.graph import Version
from flows.lineage.story import Story, tell
from flows.lineage.training_record import DatasetUse, Training
from flows.papers.contributors import read_raters, withdrawn_lines
from flows.registry.keys import files_artifact
from flows.registry.names import CONFIGURATION, EVALUATION, MODELS, STAGE_TAG, verdicts_record
from flows.registry.withdrawals import Withdrawal, all_withdrawals
from rlhf_core.gates.gate import Verdict
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.label_quality import LabelWorth
from rlhf_core.metrics.raters import RaterFigures

LABELS = "data/{table}/labels.json"
"""Where a run keeps what the labels of a table are worth."""


class VersionDossier(NamedTuple):
    """What is recorded of a version.

    Attributes:
        stage: whose model it is.
        training: the run that made it, None where it is gone.
        figures: that this run measured, by name.
        verdicts: of the last run that judged it; none where none did.
        judged_by: that run; empty where there is none.
        climb: configuration of the run of the pipeline in which it was made.
        files: SHA-256 of each of its files, by name.
    """

    version: Version
    stage: str
    training: Training | None
    figures: Mapping[str, Estimate]
    verdicts: tuple[Verdict, ...]
    judged_by: str
    climb: Mapping[str, Any]
    files: Mapping[str, str]


class DatasetDossier(NamedTuple):
    """What is recorded of a table.

    Attributes:
        use: as the runs that used it tell.
        used_by: versions that it went into, with what for.
        annotator: who compared its rows, where a registry knows.
        worth: what its labels are worth, None where it has none or nobody measured them.
        sources: what a configuration says of the files or data sets that it was read from.
        raters: what is known of each who labelled its rows under a name.
        withdrawn: rows that were left out as their data had been withdrawn, a sentence for each withdrawal.
    """

    use: DatasetUse
    used_by: tuple[str, ...]
    annotator: str
    worth: LabelWorth | None
    sources: tuple[Mapping[str, Any], ...]
    raters: Mapping[str, RaterFigures] = {}
    withdrawn: tuple[str, ...] = ()

    @property
    def licences(self) -> str:
        """Licences of its sources, in words."""
        stated = [str(source.get("licence") or "not stated") for source in self.sources]
        return ", ".join(dict.fromkeys(stated)) or "not stated"


class Dossier(NamedTuple):
    """What is recorded of a version and of everything that it stands on.

    Attributes:
        story: the graph.
        versions: each after all that went into it; the one that is meant is the last.
        datasets: tables that went in.
        runs: runs of MLflow that keep all this: those that made, judged and measured versions, the climbs, and
            withdrawals of their data.
    """

    story: Story
    versions: tuple[VersionDossier, ...]
    datasets: tuple[DatasetDossier, ...]
    runs: tuple[str, ...]

    @property
    def subject(self) -> VersionDossier:
        """The version that is meant."""
        return next(each for each in self.versions if each.version.label == self.story.root.label)

    @property
    def withdrawn(self) -> list[str]:
        """Data that were withdrawn after the version, or one that it stands on, was trained on them."""
        return sorted(set(_marks(self.versions)))

    @property
    def missing(self) -> list[str]:
        """Versions that went in and are gone."""
        return self.story.graph.missing


def read_dossier(archive: Archive, model: str) -> Dossier:
    """Gather what is recorded.

    Args:
        archive: where the version is registered.
        model: `name/version` or `name@alias`.

    Raises:
        InputError: if there is no such version.
    """
    story = tell(archive, model)
    ordered = [story.graph.versions[node] for node in story.graph.order if node in story.graph.versions]
    versions = tuple(_version(archive, version, story.training(version)) for version in ordered)
    projects = dict.fromkeys(each.training.project for each in versions if each.training is not None)
    withdrawals = [item for project in projects for item in all_withdrawals(archive.client, project)]
    datasets = tuple(_datasets(archive, versions, withdrawals))
    runs = dict.fromkeys(run for each in versions for run in _runs(archive, each))
    told = "\n".join([*(line for each in datasets for line in each.withdrawn), *_marks(versions)])
    runs |= dict.fromkeys(item.id for item in withdrawals if item.sentence in told)
    return Dossier(story, versions, datasets, tuple(runs))


def _marks(versions: Iterable[VersionDossier]) -> Iterator[str]:
    return (said for each in versions for said in each.version.withdrawn.values())


def _runs(archive: Archive, each: VersionDossier) -> Iterator[str]:
    """Runs that keep what is known of a version."""
    if each.training is None:
        return
    yield each.training.run_id
    if each.training.ladder_run:
        yield each.training.ladder_run
    for run in archive.judged(each.version, each.stage):
        yield run.info.run_id
        if run.data.tags.get(STAGE_TAG) == EVALUATION:
            yield from (child.info.run_id for child in archive.children(run, f"{EVALUATION}-{each.stage}"))


def _version(archive: Archive, version: Version, training: Training | None) -> VersionDossier:
    stage = next((name for name in MODELS if version.name.endswith(f"-{name}")), version.name)
    figures = None if training is None else recorded_figures(archive, training.run_id)
    judging = _last_judgement(archive, version, stage) if training is not None else None
    climb = archive.document(training.ladder_run, CONFIGURATION) if training and training.ladder_run else None
    files = archive.document(version.run_id, files_artifact(version.name))
    return VersionDossier(
        version=version,
        stage=stage,
        training=training,
        figures=figures or {},
        verdicts=() if judging is None else judging[1],
        judged_by="" if judging is None else judging[0].info.run_id,
        climb=climb if isinstance(climb, dict) else {},
        files=files if isinstance(files, dict) else {},
    )


def _last_judgement(archive: Archive, version: Version, stage: str) -> tuple[Run, tuple[Verdict, ...]] | None:
    """The last run that judged a version, with what it said."""
    for run in reversed(archive.judged(version, stage)):
        document = archive.document(run.info.run_id, verdicts_record(stage))
        try:
            return run, tuple(Verdict.model_validate(verdict) for verdict in document["verdicts"])
        except (KeyError, TypeError, ValidationError):
            continue
    return None


def _datasets(
    archive: Archive, versions: tuple[VersionDossier, ...], withdrawals: Sequence[Withdrawal]
) -> Iterator[DatasetDossier]:
    """Each table once, in the order in which versions first used it."""
    uses: dict[str, list[tuple[VersionDossier, str, DatasetUse]]] = {}
    for each in versions:
        for name, use in each.training.uses.items() if each.training else ():
            uses.setdefault(use.digest, []).append((each, name, use))
    for found in uses.values():
        first, name, use = found[0]
        yield DatasetDossier(
            use=use,
            used_by=tuple(f"{each.version.label} ({as_what})" for each, as_what, _ in found),
            annotator=first.version.annotators.get(name, ""),
            worth=_worth(archive, first.version.run_id, use.name),
            sources=_sources(first.climb, use.name),
            raters=_raters(archive, first) if use.name == "preferences" else {},
            withdrawn=tuple(withdrawn_lines(use.counts, withdrawals)),
        )


def _raters(archive: Archive, first: VersionDossier) -> dict[str, RaterFigures]:
    return {} if first.training is None else read_raters(archive, first.training.ladder_run)


def _worth(archive: Archive, run_id: str, table: str) -> LabelWorth | None:
    document = archive.document(run_id, LABELS.format(table=table))
    try:
        return None if document is None else LabelWorth.model_validate_json(json.dumps(document))
    except ValidationError:
        return None


def _sources(climb: Mapping[str, Any], table: str) -> tuple[Mapping[str, Any], ...]:
    """What a configuration says of where a table is read from."""
    data = climb.get("data", {})
    if data.get("kind") == "embedded":
        return ({"path": "the embedded world, generated", "licence": "none, as it is generated"},)
    listed = data.get(table, ())
    return tuple(source for source in listed if isinstance(source, dict))
