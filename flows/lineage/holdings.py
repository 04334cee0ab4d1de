"""What MLflow holds of a project, read by pages: versions, logged models, runs and aliases, by their addresses."""

import functools
from collections.abc import Iterable, Iterator
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Run

from flows.lineage.archive import PER_PAGE, pages
from flows.outages import unless_away
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

    Args:
        client: of the registry.
        project: whose experiments and models are read.
        within: addresses of runs that are read; None for all, which takes long where there are many.

    Attributes:
        facets: of versions, logged models and runs, by address; of an alias, the version that has it.
        runs: by address.
    """

    def __init__(self, client: MlflowClient, project: str, within: Iterable[str] | None = None) -> None:
        self.client = client
        self.facets: dict[str, Any] = {}
        self.runs: dict[str, Run] = {}
        self._whole = set[str]()
        names = [registered_name(project, model) for model in MODELS]
        self._read_versions(names)
        experiments = [project, data_experiment(project), f"{project}-promotions", withdrawals_experiment(project)]
        found = filter(None, map(client.get_experiment_by_name, experiments))
        ids = [experiment.experiment_id for experiment in found]
        for run in self._found(ids) if within is None else self._named(ids, within):
            self.runs[run_address(run.info.run_id)] = run
            self.facets[run_address(run.info.run_id)] = held_run(run)
        for model in pages(functools.partial(client.search_logged_models, ids), MODELS_PER_PAGE) if ids else ():
            self.facets[model_address(model.model_id)] = held_model(model)

    def _found(self, experiments: list[str]) -> Iterator[Run]:
        return pages(functools.partial(self.client.search_runs, experiments), PER_PAGE) if experiments else iter(())

    def _named(self, experiments: list[str], addresses: Iterable[str]) -> Iterator[Run]:
        """Runs of these addresses, one by one; with what they read, which only `get_run` tells."""
        for address in addresses:
            kind, _, name = address.partition(" ")
            with unless_away():  # one that is gone is told where it is stated
                if kind == "run" and _is_there(run := self.client.get_run(name), experiments):
                    self._whole.add(address)
                    yield run

    def with_inputs(self, address: str) -> Run:
        """A run that is there, with the models that it read."""
        run = self.runs[address]
        return run if address in self._whole else self.client.get_run(run.info.run_id)

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


def _is_there(run: Run, experiments: list[str]) -> bool:
    """Whether a search of these experiments would find a run."""
    return run.info.experiment_id in experiments and run.info.lifecycle_stage == LifecycleStage.ACTIVE
