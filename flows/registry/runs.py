"""MLflow runs: every call about their tags, parameters, metrics, figures and datasets."""

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow.artifacts
from mlflow import MlflowClient
from mlflow.entities import DatasetInput, InputTag, LifecycleStage, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from flows.attestation.store import NOT_THERE
from flows.config.audit import AuditConfig
from flows.config.redaction import redact
from flows.outages import gave_up
from flows.registry.names import ENDS_TAG, KEY_TAG, PARENT_RUN_TAG, PROCESS_TAG
from flows.registry.processes import is_dead, process_tag
from flows.registry.references import DatasetRef, ModelRef
from flows.registry.tags import dataset_digest, dataset_entity, flatten
from flows.storage.locks import exclusive
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.training.stage import Event

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARAMS_PER_CALL = 100  # limits of the tracking API

METRICS_PER_CALL = 1000

ESTIMATES = "estimates.json"

SHOWN_ROWS = 500
"""Rows of a table that MLflow's page shows at most; the file has all."""

FINAL = "final/"
"""Begins the names of figures that are measured once, at the end."""


class Runs:
    """The runs of one experiment of a tracking server.

    Args:
        client: of the server.
        experiment_id: the experiment.
        storage: folder that all climbs share who use it.
        audit: how statements about its runs and versions are signed and kept.
    """

    def __init__(
        self, client: MlflowClient, experiment_id: str, storage: Path, audit: AuditConfig | None = None
    ) -> None:
        self.client = client
        self.experiment_id = experiment_id
        self.storage = storage
        self.audit = audit or AuditConfig()

    def alone(self, name: str) -> AbstractContextManager[None]:
        """One climb at a time with something of that name: of two who set the same, MLflow refuses the second."""
        return exclusive(self.storage / "work" / f"{name}.lock")

    def start_run(self, name: str, *, parent: str | None = None, tags: Mapping[str, str] | None = None) -> str:
        """Start a run of this process, nested below its parent where there is one, and return its id."""
        own = {PROCESS_TAG: process_tag(), **({PARENT_RUN_TAG: parent} if parent else {})}
        run = self.client.create_run(self.experiment_id, run_name=name, tags={**(tags or {}), **own})
        return str(run.info.run_id)

    def unfinished(self, run_id: str) -> Run | None:
        """A run whose work is not done; None where it is, there is no such id, or somebody deleted the run."""
        if not re.fullmatch("[0-9a-f]{32}", run_id):
            return None
        try:
            run: Run = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != NOT_THERE:
                raise
            return None
        deleted = run.info.lifecycle_stage != LifecycleStage.ACTIVE
        return None if deleted or run.info.status == "FINISHED" else run

    def left_behind(self, key: str) -> Run | None:
        """The newest unfinished run of a content key whose process on this machine is dead; None without one."""
        query = f"tags.`{KEY_TAG}` = '{key}' and attributes.status != 'FINISHED'"
        runs = self.client.search_runs([self.experiment_id], query, order_by=["attributes.start_time DESC"])
        return next((run for run in runs if is_dead(run.data.tags.get(PROCESS_TAG, ""))), None)

    def finished(self, tags: Mapping[str, str], most: int) -> list[Run]:
        """The newest finished runs that have some tags, the newest first."""
        query = " and ".join(["attributes.status = 'FINISHED'", *(f"tags.`{tag}` = '{tags[tag]}'" for tag in tags)])
        newest_first = ["attributes.start_time DESC"]
        return list(self.client.search_runs([self.experiment_id], query, max_results=most, order_by=newest_first))

    def go_on(self, run_id: str, *, parent: str, tags: Mapping[str, str]) -> None:
        """Let a run that was cut off run again, below another parent."""
        self.tag_run(run_id, {**tags, PROCESS_TAG: process_tag(), PARENT_RUN_TAG: parent})
        self.client.update_run(run_id, status="RUNNING")

    def last_step(self, run_id: str) -> int:
        """The last step that a run has of a stage's events; -1 where it has none."""
        names = [name for name in self.client.get_run(run_id).data.metrics if not name.startswith(FINAL)]
        return max((self.client.get_metric_history(run_id, name)[-1].step for name in names), default=-1)

    def note_end(self, run_id: str, status: str) -> None:
        """Note in a tag how and when a run ends next, for the statement of it and for who tidies up after a kill."""
        self.tag_run(run_id, {ENDS_TAG: f"{status} {int(time.time() * 1000)}"})

    def end_as_noted(self, run: Run) -> None:
        """End a run as its tag notes, as KILLED where it has none."""
        status, _, when = run.data.tags.get(ENDS_TAG, "KILLED").partition(" ")
        self.client.set_terminated(run.info.run_id, status, int(when) if when else None)

    def end_run(self, run_id: str, status: str) -> None:
        """End a run as FINISHED, FAILED or KILLED."""
        self.client.set_terminated(run_id, status)

    def try_to_end(self, run_id: str, status: str, tags: Mapping[str, str], error: BaseException) -> None:
        """End a run whose work has failed; where the server cannot be told, the failure itself is what is raised.

        A server that was just given up is not asked again: the next climb ends the run.
        """
        if not gave_up(error):
            with suppress(MlflowException):
                self.tag_run(run_id, tags)
                self.end_run(run_id, status)

    def running(self, tag: str) -> list[Run]:
        """Runs that say they are running and carry a tag."""
        query = f"attributes.status = 'RUNNING' and tags.`{tag}` != ''"
        return list(self.client.search_runs([self.experiment_id], query))

    def children(self, run_id: str) -> list[str]:
        """Ids of the running runs below a run."""
        query = f"attributes.status = 'RUNNING' and tags.`{PARENT_RUN_TAG}` = '{run_id}'"
        return [run.info.run_id for run in self.client.search_runs([self.experiment_id], query)]

    def tag_run(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run, all at once."""
        self.client.log_batch(run_id, tags=[RunTag(key, redact(value)) for key, value in tags.items()])

    def log_params(self, run_id: str, tree: Mapping[str, Any]) -> None:
        """Log a configuration tree as dotted parameters."""
        params = [Param(key, str(value)[:6000]) for key, value in flatten(tree)]
        for start in range(0, len(params), PARAMS_PER_CALL):
            self.client.log_batch(run_id, params=params[start : start + PARAMS_PER_CALL])

    def document(self, run_id: str, path: str) -> dict[str, Any] | None:
        """A JSON artifact of a run, None where it cannot be had."""
        try:
            kept: dict[str, Any] = mlflow.artifacts.load_dict(f"runs:/{run_id}/{path}")
        except (MlflowException, OSError) as error:
            if gave_up(error):
                raise
            return None
        return kept

    def estimates(self, run_id: str) -> dict[str, Estimate]:
        """The figures that `log_estimates` kept, none where it kept none."""
        kept = self.document(run_id, ESTIMATES) or {}
        return {name: Estimate.from_json(estimate) for name, estimate in kept.items()}

    def log_events(
        self,
        run_id: str,
        events: Sequence[Event],
        *,
        model: ModelRef | None = None,
        dataset: DatasetRef | None = None,
    ) -> None:
        """Log metrics by step, many whole steps in one call; `model` and `dataset` as in `log_estimates`."""
        now = int(time.time() * 1000)
        of = {"model_id": model.model_id} if model else {}
        on = {"dataset_name": dataset.name, "dataset_digest": dataset_digest(dataset)} if dataset else {}
        most = max((len(event.metrics) for event in events), default=0)
        steps = max(1, METRICS_PER_CALL // max(1, most))
        for start in range(0, len(events), steps):
            metrics = [
                Metric(key, value, now, event.step, **of, **on)
                for event in events[start : start + steps]
                for key, value in event.metrics.items()
            ]
            self.client.log_batch(run_id, metrics=metrics)

    def log_estimates(
        self,
        run_id: str,
        estimates: Mapping[str, Estimate],
        *,
        model: ModelRef | None = None,
        dataset: DatasetRef | None = None,
        file: str = ESTIMATES,
    ) -> None:
        """Log figures with their intervals as metrics under `final/`, and as one JSON file.

        Args:
            run_id: the run that measured them.
            estimates: figures by name.
            model: what was measured, on whose page they are shown too.
            dataset: what it was measured on.
            file: name of the JSON file.

        Raises:
            NotFiniteError: if one is no number; then nothing is logged.
        """
        refuse_nan(estimates)
        self.log_events(run_id, [Event(0, final_metrics(estimates))], model=model, dataset=dataset)
        self.client.log_dict(run_id, {name: estimate.as_json() for name, estimate in estimates.items()}, file)

    def log_inputs(self, run_id: str, inputs: Sequence[DatasetInput]) -> None:
        """Log dataset inputs."""
        with self.alone("datasets"):
            self.client.log_inputs(run_id, datasets=inputs)

    def show_table(self, run_id: str, table: Mapping[str, Sequence[Any]], path: str) -> None:
        """Show a table on MLflow's page of evaluations; once, as MLflow appends to what is there."""
        if not any(item.path == path for item in self.client.list_artifacts(run_id, str(Path(path).parent))):
            self.client.log_table(run_id, dict(table), path)

    def log_figures(self, run_id: str, figures: "Mapping[str, Figure]") -> None:
        """Log figures as PNG files under `figures/`."""
        for name, figure in figures.items():
            self.client.log_figure(run_id, figure, f"figures/{name}.png")

    def log_datasets(self, run_id: str, datasets: Mapping[str, DatasetRef]) -> None:
        """Log dataset inputs by context, such as `training`, with the report on each under `data/`."""
        inputs = [
            DatasetInput(dataset_entity(ref), [InputTag("mlflow.data.context", use)]) for use, ref in datasets.items()
        ]
        self.log_inputs(run_id, inputs)
        for ref in {ref.name: ref for ref in datasets.values()}.values():
            self.client.log_artifacts(run_id, ref.report, f"data/{ref.name}")


def final_metrics(estimates: Mapping[str, Estimate]) -> dict[str, float]:
    """Figures as metrics: the value by `final/<name>`, the ends of its interval, where it has any, below that."""
    suffixes = {"value": "", "lower": "/lower", "upper": "/upper"}
    return {
        f"{FINAL}{name}{suffix}": number
        for name, estimate in estimates.items()
        for field, suffix in suffixes.items()
        if (number := estimate.as_json()[field]) is not None
    }


def refuse_nan(estimates: Mapping[str, Estimate]) -> None:
    """Test that figures are numbers, before any of them is kept.

    Raises:
        NotFiniteError: naming those that are not.
    """
    if wrong := sorted(name for name, estimate in estimates.items() if not estimate.is_number):
        from rlhf_core.models.precision import NotFiniteError  # noqa: PLC0415 torch takes seconds to import

        raise NotFiniteError(
            f"figures that are no numbers (NaN): {', '.join(wrong)}; weights of a model are damaged, or its data "
            "hold what these figures are not made for; look at its samples and at the report on the data"
        )
