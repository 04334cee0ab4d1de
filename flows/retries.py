"""Which failures are tried again: those of servers, networks and disks. A failed gate and a bad input never are."""

import errno
from typing import Any

import httpx
import requests
from mlflow.exceptions import MlflowException
from prefect import Task
from prefect.client.schemas.objects import State, TaskRun
from prefect.task_engine import TaskRunTimeoutError
from prefect.tasks import exponential_backoff
from sqlalchemy.exc import OperationalError

RETRIES = 7
BACKOFF = exponential_backoff(2)
"""2, 4, 8 ... 128 seconds between the tries: about four minutes, in which a server starts again."""
TOO_MANY_REQUESTS = 429
PASSING = {errno.EAGAIN, errno.EBUSY, errno.EIO, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ESTALE}
"""What a disk or a network says that may be well again in a minute."""


def retry_infrastructure(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Prefect's condition for another try of a failed task."""
    return is_infrastructure(state.result(raise_on_failure=False))


def is_infrastructure(error: object) -> bool:
    """Whether an error says that a server, a network or a disk did not do its part, and may do so later."""
    match error:
        case TaskRunTimeoutError():  # the stage itself took too long
            return False
        case MlflowException():  # also stands for a connection that failed
            return _passes(error.get_http_status_code())
        case httpx.HTTPStatusError() | requests.HTTPError():
            return error.response is not None and _passes(error.response.status_code)
        case httpx.TransportError() | requests.ConnectionError() | requests.Timeout() | OperationalError():
            return True
        case ConnectionError() | TimeoutError():
            return True
        case OSError():
            return error.errno in PASSING
    return False


def _passes(status: int) -> bool:
    return status == TOO_MANY_REQUESTS or status >= 500
