"""Prefect tasks: which failures are retried, which results are cached, which events are emitted.

Failures of servers, networks and disks are tried again; a failed gate and a bad input never are.
"""

import errno
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

import httpx
import requests
from mlflow.exceptions import MlflowException
from prefect import Task, task
from prefect.cache_policies import CachePolicy
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.task_engine import TaskRunTimeoutError
from prefect.tasks import exponential_backoff
from sqlalchemy.exc import OperationalError

from flows.outages import gave_up, passes

P = ParamSpec("P")

R = TypeVar("R")


FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
"""What a disk says that a person has to make room on, or to open for writing."""


def name_flow_run(name: str) -> None:
    """Name the flow run that this is called in, if in any."""
    if flow_run.id is not None:
        with get_client(sync_client=True) as client:
            client.update_flow_run(UUID(flow_run.id), name=name)


def _cache_key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    return f"{parameters['context'].project}-{context.task.name}-{parameters['key']}"


BY_KEY = CachePolicy.from_cache_key_fn(_cache_key)

CACHED: dict[str, Any] = {"persist_result": True, "result_serializer": "json", "cache_policy": BY_KEY}
"""Options of a task whose result is kept under its content key, for all runs of a project."""


RETRIES = 7

BACKOFF = exponential_backoff(2)
"""2, 4, 8 ... 128 seconds between the tries: about four minutes, in which a server starts again."""

PASSING = {errno.EAGAIN, errno.EBUSY, errno.EIO, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ESTALE}
"""What a disk or a network says that may be well again in a minute."""


def retry_infrastructure(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Prefect's condition for another try of a failed task; what a client has waited for is not waited for again."""
    error = state.result(raise_on_failure=False)
    return is_infrastructure(error) and not gave_up(error)


def retried_task(name: str, **options: Any) -> Callable[[Callable[P, R]], Task[P, R]]:
    """A task that is tried again where a network, a disk or a server without a patient client failed it.

    Args:
        name: of the task.
        options: further ones of `prefect.task`.
    """
    return task(
        name=name,
        retries=RETRIES,
        retry_delay_seconds=BACKOFF,
        retry_condition_fn=retry_infrastructure,
        **options,
    )


def is_infrastructure(error: object) -> bool:
    """Whether an error says that a server, a network or a disk did not do its part, and may do so later."""
    match error:
        case TaskRunTimeoutError():  # the stage itself took too long
            return False
        case MlflowException():  # also stands for a connection that failed
            return passes(error.get_http_status_code())
        case httpx.HTTPStatusError() | requests.HTTPError():
            return error.response is not None and passes(error.response.status_code)
        case httpx.TransportError() | requests.ConnectionError() | requests.Timeout() | OperationalError():
            return True
        case ConnectionError() | TimeoutError():
            return True
        case OSError():
            return error.errno in PASSING
    return False


def outage(error: BaseException) -> str:
    """What a person is told of an error that is no mistake of theirs or ours: a disk or a server; empty for others."""
    if isinstance(error, OSError) and error.errno in FULL:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}; make room there, or let it be written to, and run again"
    if is_infrastructure(error):
        words = " ".join(f"{_asked(error)}{error}".split())[:300]
        return f"a server, a network or a disk did not answer in time ({type(error).__name__}: {words}); run again"
    return ""


def _asked(error: BaseException) -> str:
    """The address that a client asked in vain, where it does not say so itself."""
    with suppress(RuntimeError):  # it knows no request
        if isinstance(error, httpx.RequestError):
            return f"{error.request.url.copy_with(userinfo=b'', path='/', query=None)}: "
    return ""


GATE_FAILED = "rlhf.gate.failed"

QUARANTINE_EXCEEDED = "rlhf.quarantine.exceeded"

OVERDUE = "rlhf.overdue"


def tell(event: str, project: str, resource: str, payload: dict[str, Any]) -> None:
    """Emit a Prefect event about a project.

    Args:
        event: its name.
        project: whose automations it concerns.
        resource: what it is about.
        payload: what there is to say; small, and without any text of the data's rows.
    """
    emit_event(event, {"prefect.resource.id": resource}, related=[project_tag(project)], payload=payload)


def project_tag(project: str) -> dict[str, str]:
    """The tag of a project's runs, as events and automations name it."""
    return {"prefect.resource.id": f"prefect.tag.{project}", "prefect.resource.role": "tag"}
