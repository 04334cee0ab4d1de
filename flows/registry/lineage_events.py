"""Lineage events: what ran, on what, and what came of it, in OpenLineage's words, to a file or a server.

Telling stops nothing: what cannot be told is one line of warning, and the run goes on.
"""

import functools
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Literal, NamedTuple

import requests
from openlineage.client import OpenLineageClient
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.facet_v2 import (
    DatasetFacet,
    data_quality_assertions_dataset,
    dataset_type_dataset,
    dataset_version_dataset,
    error_message_run,
    input_statistics_input_dataset,
    job_type_job,
    output_statistics_output_dataset,
    parent_run,
    processing_engine_run,
    tags_dataset,
    tags_run,
)
from openlineage.client.transport.file import FileConfig, FileTransport
from openlineage.client.transport.http import HttpConfig, HttpTransport

from flows.config.errors import InputError
from flows.config.lineage import OpenLineageConfig
from flows.config.redaction import redact
from flows.registry.names import CHAMPION
from flows.registry.references import DatasetRef, ModelRef
from flows.report import warn
from rlhf_core.gates.gate import Verdict
from rlhf_core.training.stage import OutOfTime

NAME = "rlhf-ladder"

KEY = "OPENLINEAGE_API_KEY"

PIPELINE = "pipeline"
"""The job of a whole climb, evaluation or single stage, around those of its parts."""

SECONDS = 3.0
"""How long a server may take for an event."""

SOURCE = "RLHF_LADDER"
"""What the tags and jobs of these events say that they are of."""

State = Literal["START", "COMPLETE", "FAIL", "ABORT"]


class LineageNode(NamedTuple):
    """A table, file or model as events name it.

    Attributes:
        kind: `TABLE`, `FILE` or `MODEL`.
        version: digest of a snapshot, number of a version.
        namespace: empty for that of the configuration.
        verdicts: what gates said of it.
    """

    name: str
    kind: str
    version: str = ""
    rows: int | None = None
    tags: Mapping[str, str] = {}
    namespace: str = ""
    verdicts: Sequence[Verdict] = ()


class LineageRun(NamedTuple):
    """A run as events name it.

    Attributes:
        job: what runs, below the project, such as `sft`.
        run_id: 32 hexadecimal digits, as MLflow's are; of one that MLflow does not know, `new_run_id`.
        parent: the run of the pipeline around it; empty where there is none.
    """

    job: str
    run_id: str
    parent: str = ""
    tags: Mapping[str, str] = {}


class LineageEvents:
    """Tells of the runs of a project.

    Args:
        project: whose runs they are.
        config: where events go; None tells nobody.
    """

    def __init__(self, project: str, config: OpenLineageConfig | None) -> None:
        self.project = project
        self.config = config

    def tell(
        self,
        state: State,
        run: LineageRun,
        inputs: Sequence[LineageNode] = (),
        outputs: Sequence[LineageNode] = (),
        *,
        error: str = "",
    ) -> None:
        """Tell that a run started or how it ended; what keeps this from being told is warned of once.

        Args:
            state: what became of it.
            run: the run.
            inputs: what went in.
            outputs: what came out.
            error: why it failed, without texts of data.
        """
        if self.config is None:
            return
        event = RunEvent(
            eventTime=datetime.now(UTC).isoformat(),
            producer=_producer(),
            eventType=RunState[state],
            run=Run(str(uuid.UUID(run.run_id)), self._run_facets(run, error)),
            job=Job(self.config.namespace, self._job(run.job), {"jobType": _job_type()}),
            inputs=[self._input(node) for node in inputs],
            outputs=[self._output(node) for node in outputs],
        )
        try:
            _client(self.config).emit(event)
        except Exception as failure:  # whatever it is, the run goes on
            _warn_once(self.config, _reason(failure))

    @contextmanager
    def ending_ill(self, run: LineageRun) -> Iterator[None]:
        """Tell if a run that was told of does not end well inside."""
        try:
            yield
        except BaseException as error:
            said = str(error) if isinstance(error, InputError) else type(error).__name__
            self.tell("ABORT" if isinstance(error, KeyboardInterrupt | OutOfTime) else "FAIL", run, error=said)
            raise

    @contextmanager
    def of(self, run: LineageRun, inputs: Sequence[LineageNode] = ()) -> Iterator[list[LineageNode]]:
        """Tell of a run that takes place inside, and of its outputs, which are put into the list."""
        outputs: list[LineageNode] = []
        self.tell("START", run, inputs)
        with self.ending_ill(run):
            yield outputs
        self.tell("COMPLETE", run, inputs, outputs)

    def snapshot(self, ref: DatasetRef) -> LineageNode:
        """A table."""
        tags = {"contract": ref.contract, **({"annotator": ref.annotator} if ref.annotator else {})}
        return LineageNode(f"{self.project}.{ref.name}", "TABLE", ref.digest, ref.rows, tags)

    def _job(self, name: str) -> str:
        return f"{self.project}.{name}"

    def _run_facets(self, run: LineageRun, error: str) -> dict[str, Any]:
        facets: dict[str, Any] = {
            "processing_engine": processing_engine_run.ProcessingEngineRunFacet(version(NAME), NAME),
            "tags": tags_run.TagsRunFacet(
                [tags_run.TagsRunFacetFields(key, redact(value), SOURCE) for key, value in run.tags.items()]
            ),
        }
        if run.parent:
            above = parent_run.Run(str(uuid.UUID(run.parent)))
            assert self.config is not None
            facets["parent"] = parent_run.ParentRunFacet(
                above, parent_run.Job(self.config.namespace, self._job(PIPELINE))
            )
        if error:
            facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(redact(error), "PYTHON")
        return facets

    def _input(self, node: LineageNode) -> InputDataset:
        facets: dict[str, Any] = {}
        if node.rows is not None:
            facets["inputStatistics"] = input_statistics_input_dataset.InputStatisticsInputDatasetFacet(node.rows)
        if node.verdicts:
            facets["dataQualityAssertions"] = data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet(
                [_assertion(verdict) for verdict in node.verdicts]
            )
        return InputDataset(self._namespace(node), node.name, facets, facets=_facets(node))

    def _output(self, node: LineageNode) -> OutputDataset:
        facets: dict[str, Any] = {}
        if node.rows is not None:
            facets["outputStatistics"] = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(node.rows)
        return OutputDataset(self._namespace(node), node.name, facets, facets=_facets(node))

    def _namespace(self, node: LineageNode) -> str:
        assert self.config is not None
        return node.namespace or self.config.namespace


def model_node(ref: ModelRef, verdicts: Sequence[Verdict] = ()) -> LineageNode:
    """A version of a model, and what gates said of it."""
    return LineageNode(ref.name, "MODEL", ref.version, tags={"digest": ref.digest}, verdicts=verdicts)


def champion_node(model: str, number: str) -> LineageNode:
    """What the alias of a champion names."""
    return LineageNode(f"{model}@{CHAMPION}", "MODEL", number)


def new_run_id() -> str:
    """Of a run that MLflow does not know."""
    return uuid.uuid4().hex


def _facets(node: LineageNode) -> dict[str, DatasetFacet]:
    facets: dict[str, DatasetFacet] = {"datasetType": dataset_type_dataset.DatasetTypeDatasetFacet(node.kind)}
    if node.version:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(node.version)
    if node.tags:
        fields = [tags_dataset.TagsDatasetFacetFields(key, redact(value), SOURCE) for key, value in node.tags.items()]
        facets["tags"] = tags_dataset.TagsDatasetFacet(fields)
    return facets


def _assertion(verdict: Verdict) -> data_quality_assertions_dataset.Assertion:
    """A verdict as tools for data quality have it; one that abstains has not succeeded, and says that it abstains."""
    return data_quality_assertions_dataset.Assertion(
        assertion=verdict.gate,
        success=verdict.status == "pass",
        name=verdict.gate,
        description=f"{verdict.status}: {verdict.explanation}",
        expected=f"{verdict.metric} {verdict.direction} {verdict.threshold:g}",
        actual=None if verdict.value is None else f"{verdict.value:g}",
    )


def _job_type() -> job_type_job.JobTypeJobFacet:
    return job_type_job.JobTypeJobFacet(processingType="BATCH", integration=SOURCE, jobType="JOB")


def _producer() -> str:
    return f"pkg:pypi/{NAME}@{version(NAME)}"


@functools.cache
def _client(config: OpenLineageConfig) -> OpenLineageClient:
    """One for the process; a server gets one try for each event, so that one that is away holds little up."""
    if config.file is not None:
        place = str(config.file.expanduser().absolute())
        return OpenLineageClient(transport=FileTransport(FileConfig(place, append=True)))
    settings: dict[str, Any] = {"url": f"{str(config.url).rstrip('/')}/", "timeout": SECONDS}
    if key := os.environ.get(KEY):
        settings["auth"] = {"type": "api_key", "apiKey": key}
    once = {"total": 0, "connect": 0, "read": 0, "status_forcelist": []}
    return OpenLineageClient(transport=HttpTransport(HttpConfig.from_dict({**settings, "retry": once})))


def _reason(failure: Exception) -> str:
    if isinstance(failure, requests.HTTPError) and failure.response is not None:
        return f"it answers {failure.response.status_code}"
    return type(failure).__name__


@functools.cache
def _warn_once(config: OpenLineageConfig, failure: str) -> None:
    place = config.url or config.file
    warn(redact(f"lineage.openlineage: {place} does not take events ({failure}); all goes on without"))
