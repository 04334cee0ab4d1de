"""Prefect deployments of the flows, with their schedules and queues."""

import os
from dataclasses import replace
from typing import Any, NamedTuple
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate
from prefect.client.schemas.objects import WorkQueue
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.schedules import Schedule
from prefect.types.entrypoint import EntrypointType
from prefect.workers.process import ProcessWorker

from flows.config.data import DATA_FOLDER, EmbeddedData, FileData, FileSource
from flows.config.deploy import Deployable
from flows.config.errors import InputError
from flows.config.ladder import LadderConfig, LadderFile
from flows.config.redaction import redact_address
from flows.config.relabel import ByPeople
from flows.config.rounds import check_rounds
from flows.data.sources import TABLES
from flows.deploy.alerts import set_alerts
from flows.deploy.automations import ignore_promotions, start_policy_on_promotion
from flows.deploy.schedules import parse_schedules
from flows.pipeline.evaluate import evaluate
from flows.pipeline.ladder import ladder
from flows.pipeline.single_stage import data_alone, policy_alone, reward_model_alone, sft_alone

POOL = "rlhf"

DATA, TRAINING = "data", "training"

FLOWS: dict[Deployable, tuple[Flow[..., Any], str]] = {
    "ladder": (ladder, TRAINING),
    "ingest": (data_alone, DATA),
    "sft": (sft_alone, TRAINING),
    "reward_model": (reward_model_alone, TRAINING),
    "policy": (policy_alone, TRAINING),
    "evaluate": (evaluate, TRAINING),
}
"""Every flow that is deployed, and the queue of its runs."""

VARIABLES = ("MLFLOW_TRACKING_URI", "PREFECT_LOCAL_STORAGE_PATH", DATA_FOLDER)
"""Variables that runs get as they are here: where models and results lie, and raw data."""


class Deployed(NamedTuple):
    """A deployment as it was registered.

    Attributes:
        name: `<flow>/<project>`.
        schedule: in words, None where only people and promotions start it.
        paused: whether it or its schedule rests, because a person paused it in Prefect.
    """

    name: str
    queue: str
    schedule: str | None
    paused: bool


def deploy(file: LadderFile, *, arguments: str, schedule: str | None = None) -> list[Deployed]:
    """Register a deployment of every flow with the Prefect server of the environment, or bring those there up to date.

    Args:
        file: the configuration, with an absolute storage folder.
        arguments: how it is named on a command line.
        schedule: replaces that of the ladder.

    Raises:
        InputError: if a schedule is none, several rounds could not learn from each other, or a variable that runs get
            holds a password.
    """
    config, settings = file.climb, file.deploy
    schedules = parse_schedules(settings, schedule)
    check_rounds(config, settings.iterate)
    variables = _variables()
    with get_client(sync_client=True) as client:
        _prepare_queues(client, gpus=settings.gpus)
        deployed = [
            _register(client, flow, queue, schedules.get(key), config, variables, arguments, settings.iterate)
            for key, (flow, queue) in FLOWS.items()
        ]
    set_alerts(config.project, settings.alerts.webhook)
    (start_policy_on_promotion if settings.on_promotion else ignore_promotions)(config.project)
    return deployed


def _prepare_queues(client: SyncPrefectClient, *, gpus: int) -> None:
    """Make pool and queues where they are absent; the queue for training lets one run through for each GPU."""
    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(WorkPoolCreate(name=POOL, type=ProcessWorker.type, base_job_template=template))
    _queue(client, DATA)
    client.update_work_queue(_queue(client, TRAINING).id, concurrency_limit=gpus)


def _queue(client: SyncPrefectClient, name: str) -> WorkQueue:
    try:
        return client.read_work_queue_by_name(name, work_pool_name=POOL)
    except ObjectNotFound:
        return client.create_work_queue(name, work_pool_name=POOL)


def _register(
    client: SyncPrefectClient,
    flow: Flow[..., Any],
    queue: str,
    schedule: Schedule | None,
    config: LadderConfig,
    variables: dict[str, str],
    arguments: str,
    iterate: int,
) -> Deployed:
    """Register one flow; of its schedules only the given one stays, and what a person paused stays paused."""
    name = f"{flow.name}/{config.project}"
    earlier = _earlier(client, name)
    rests = earlier is not None and _rests(earlier, schedule)
    parameters = {"config": anywhere(config).model_dump(mode="json"), "arguments": arguments, "iterate": iterate}
    deployment = RunnerDeployment.from_flow(
        flow,
        name=config.project,
        schedule=schedule and replace(schedule, active=not rests),
        paused=earlier.paused if earlier else None,
        parameters={name: value for name, value in parameters.items() if name in flow.parameters.properties},
        tags=[config.project],
        work_pool_name=POOL,
        work_queue_name=queue,
        job_variables={"env": variables},
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    if earlier is not None:
        for earlier_schedule in earlier.schedules:
            client.delete_deployment_schedule(earlier.id, earlier_schedule.id)
    form = DeploymentUpdate(parameter_openapi_schema=with_tabs(flow.parameters.model_dump(exclude_unset=True)))
    identity = deployment.apply()
    assert isinstance(identity, UUID)  # a coroutine only where a loop runs
    client.update_deployment(identity, form)
    text = None if schedule is None else str(schedule.cron or schedule.rrule or f"every {schedule.interval}")
    return Deployed(name, queue, text, paused=bool(earlier and earlier.paused) or bool(schedule and rests))


def _variables() -> dict[str, str]:
    """What runs get of the environment; the working folder as that of raw data, where none is named.

    Raises:
        InputError: if a value holds a password, which Prefect would show with the deployment.
    """
    variables = {DATA_FOLDER: os.getcwd()} | {name: os.environ[name] for name in VARIABLES if os.environ.get(name)}
    for name, value in variables.items():
        if redact_address(value) != value:
            raise InputError(
                f"{name} holds a password, which Prefect would show with the deployment: leave it out of the address, "
                "and give it to the workers, such as by PGPASSWORD or their .pgpass"
            )
    return variables


def _earlier(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    """A deployment as the server has it, None where it has none."""
    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


def _rests(earlier: DeploymentResponse, schedule: Schedule | None) -> bool:
    """Whether a person paused the same schedule, or where there is no such one, all that there are."""
    same = [item for item in earlier.schedules if schedule and _rule(item.schedule) == _rule(schedule)]
    return bool(earlier.schedules) and not any(item.active for item in same or earlier.schedules)


def _rule(schedule: object) -> tuple[object, ...]:
    """When a schedule of any of Prefect's classes starts runs."""
    return tuple(getattr(schedule, name, None) for name in ("cron", "interval", "rrule"))


def with_tabs(schema: Any) -> Any:
    """A JSON schema whose unions are plain ones: Prefect's form has a tab for each of their members, and else none."""
    if isinstance(schema, list):
        return [with_tabs(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: with_tabs(part) for key, part in schema.items()}
    if "oneOf" in kept:
        kept["anyOf"] = kept.pop("oneOf")
        kept.pop("discriminator", None)
    return kept


def anywhere(config: LadderConfig) -> LadderConfig:
    """A configuration whose files are found from any working folder."""
    data = config.data
    if not isinstance(data, EmbeddedData):
        data = data.model_copy(update={"formats": tuple(path.absolute() for path in data.formats)})
    if isinstance(data, FileData):
        data = data.model_copy(update={table: tuple(map(_anywhere, getattr(data, table))) for table in TABLES})
    relabel = config.relabel
    if isinstance(relabel, ByPeople) and relabel.folder:
        relabel = relabel.model_copy(update={"folder": relabel.folder.absolute()})
    return config.model_copy(update={"data": data, "relabel": relabel, "storage": config.storage.absolute()})


def _anywhere(source: FileSource) -> FileSource:
    """A source that is found from any working folder; its files keep their names."""
    return source.model_copy(update={"path": os.path.abspath(source.path)}) if source.begins_here else source
