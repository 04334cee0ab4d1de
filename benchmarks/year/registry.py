"""What the registry holds, as the year looks at it: versions, aliases, and folders of models."""

import itertools
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from mlflow import MlflowClient
from mlflow.artifacts import load_text
from mlflow.exceptions import MlflowException

from benchmarks.year.configuration import PROJECT
from flows.registry.client import open_registry
from flows.registry.names import CHALLENGER, CHAMPION, MODELS, STATUS_TAG, registered_name

REPORT = "labels/report.md"
"""Artifact of a climb."""


class Model(NamedTuple):
    """A registered model.

    Attributes:
        versions: numbers, the oldest first.
        aliases: number by alias.
        status: what the gates of each version say together, where they said anything.
    """

    versions: list[int]
    aliases: Mapping[str, int]
    status: Mapping[int, str]


def look() -> dict[str, Model]:
    """All models of the project by stage; those that are not registered yet have no version."""
    client = MlflowClient()
    there = {model.name: model for model in client.search_registered_models(max_results=1000)}
    found = {}
    for stage in MODELS:
        name = registered_name(PROJECT, stage)
        versions = client.search_model_versions(f"name='{name}'", max_results=10_000) if name in there else []
        aliases = {alias: int(number) for alias, number in there[name].aliases.items()} if name in there else {}
        status = {int(version.version): version.tags.get(STATUS_TAG, "") for version in versions}
        found[stage] = Model(sorted(status), aliases, status)
    return found


def label(stage: str, number: int) -> str:
    """A version as people write it."""
    return f"{registered_name(PROJECT, stage)}/{number}"


def new_versions(before: Mapping[str, list[int]]) -> dict[str, list[str]]:
    """Versions that are there now and were not before, by stage."""
    return {
        stage: [label(stage, number) for number in model.versions if number not in before[stage]]
        for stage, model in look().items()
    }


def holders(models: Mapping[str, Model], alias: str) -> dict[str, str]:
    """Versions that hold an alias, by stage."""
    return {stage: label(stage, model.aliases[alias]) for stage, model in models.items() if alias in model.aliases}


def challengers(models: Mapping[str, Model]) -> dict[str, str]:
    """Versions that wait for a person, by stage."""
    champions = holders(models, CHAMPION)
    return {stage: found for stage, found in holders(models, CHALLENGER).items() if champions.get(stage) != found}


def named_in_report(column: str) -> dict[str, str]:
    """What the newest climb's report of labels says against sources or raters, by name; nothing of the others.

    Args:
        column: the first one of the table, `source` or `rater`.
    """
    client = MlflowClient()
    experiment = client.get_experiment_by_name(PROJECT)
    runs = (
        client.search_runs([experiment.experiment_id], "attributes.run_name = 'ladder'", max_results=1)
        if experiment
        else []
    )
    with suppress(MlflowException):  # a climb that data or a fault ended before its report
        lines = [line for run in runs for line in load_text(f"{run.info.artifact_uri}/{REPORT}").splitlines()]
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
        start = next((index for index, row in enumerate(rows) if row[0] == column), len(rows))
        table = itertools.takewhile(lambda row: len(row) == len(rows[start]), rows[start:])
        return {row[0]: row[-1] for row in list(table)[2:] if row[-1]}
    return {}


def folder_of(version: str, storage: Path) -> Path:
    """The files of a version, as they lie on this machine."""
    registry = open_registry(PROJECT, storage)
    return registry.folder(registry.pin(version))
