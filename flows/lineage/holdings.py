"""What MLflow holds of a project, read by pages: versions, logged models, runs and aliases, by their addresses."""

import functools
from collections.abc import Iterator
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from flows.lineage.archive import PER_PAGE, pages
from flows.registry.held import (
    alias_address,
    held_model,
    held_run,
    held_version,
    model_address,
    run_address,
    version_address,
)
from flows.registry.names import MODELS, data_experiment, registered_name, withdrawals_experiment

MODELS_PER_PAGE = 1000


class Holdings:
    """What there is of a project now.

    Attributes:
        facets: of versions, logged models and runs, by address; of an alias, the version that has it.
        runs: by address.
    """

    def __init__(self, client: MlflowClient, project: str) -> None:
        self.client = client
        self.facets: dict[str, Any] = {}
        self.runs: dict[str, Run] = {}
        names = [registered_name(project, model) for model in MODELS]
        self._read_versions(names)
        experiments = [project, data_experiment(project), f"{project}-promotions", withdrawals_experiment(project)]
        found = filter(None, map(client.get_experiment_by_name, experiments))
        ids = [experiment.experiment_id for experiment in found]
        for run in pages(functools.partial(client.search_runs, ids), PER_PAGE) if ids else ():
            self.runs[run_address(run.info.run_id)] = run
            self.facets[run_address(run.info.run_id)] = held_run(run)
        for model in pages(functools.partial(client.search_logged_models, ids), MODELS_PER_PAGE) if ids else ():
            self.facets[model_address(model.model_id)] = held_model(model)

    def _read_versions(self, names: list[str]) -> None:
        for model in pages(self.client.search_registered_models, MODELS_PER_PAGE):
            if model.name in names:
                for alias, version in model.aliases.items():
                    self.facets[alias_address(model.name, alias)] = f"{model.name}/{version}"
        for name in names:
            search = functools.partial(self.client.search_model_versions, f"name='{name}'")
            for version in pages(search, PER_PAGE):
                self.facets[version_address(f"{name}/{version.version}")] = held_version(version)

    def of_kind(self, kind: str) -> Iterator[tuple[str, Any]]:
        """Addresses of `version`, `model`, `run` or `alias`, with what is there."""
        return ((address, facets) for address, facets in self.facets.items() if address.startswith(f"{kind} "))
