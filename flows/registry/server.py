"""Whether the MLflow server or database that the environment names answers; asked before anything is done."""

import json
import re
import time

import mlflow
import sqlalchemy
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request
from requests.exceptions import RequestException
from sqlalchemy.exc import SQLAlchemyError

from flows.config.addresses import shown
from flows.config.errors import InputError
from flows.config.shown import bare
from flows.registry.rest import ANSWER_SECONDS, MLFLOW_CLOSED, NoAnswer, whole

FOUND = {"experiments", "next_page_token"}
"""What MLflow's list of experiments holds; it leaves out what is empty."""

CAUSE = re.compile(r"Caused by (\w+)")

TIMED = ("postgresql", "mysql")
"""Databases whose drivers take a `connect_timeout`."""


def require_mlflow() -> None:
    """Ask the servers of the environment once; a local file needs none.

    MLflow's own client tries for minutes, which is right only of a server that has answered before.

    Raises:
        InputError: naming the address, if nothing answers there within seconds, or something that is no MLflow.
    """
    uris = {mlflow.get_registry_uri(): "MLFLOW_REGISTRY_URI"} | {mlflow.get_tracking_uri(): "MLFLOW_TRACKING_URI"}
    for uri, variable in uris.items():
        try:
            _ask(uri)
        except _Silence as silence:
            raise InputError(
                f"no MLflow server answers at {shown(uri)} ({bare(str(silence))}): start it, or mend {variable}"
            ) from None


class _Silence(Exception):
    """Why nothing that was asked is an MLflow."""


def _ask(uri: str) -> None:
    scheme = uri.partition(":")[0].partition("+")[0]
    if scheme in ("http", "https"):
        _ask_server(uri)
    elif scheme in (*TIMED, "mssql"):
        _ask_database(uri, scheme)
    elif scheme != "sqlite":
        _ask_store(uri)


def _ask_server(uri: str) -> None:
    until = time.monotonic() + ANSWER_SECONDS
    try:
        with http_request(
            get_default_host_creds(uri),
            "/api/2.0/mlflow/experiments/search",
            "GET",
            params={"max_results": 1},
            max_retries=0,
            timeout=ANSWER_SECONDS,
            raise_on_status=False,
            stream=True,
        ) as response:
            content = whole(response.iter_content(1), until)  # more at once would be waited for
    except MlflowException as error:
        cause = CAUSE.search(str(error))
        raise _Silence(cause[1] if cause else "cannot be asked") from None
    except (RequestException, ValueError, UnicodeError) as error:
        raise _Silence(type(error).__name__) from None
    except NoAnswer as error:
        raise _Silence(str(error)) from None
    if response.status_code in (401, 403):
        raise InputError(MLFLOW_CLOSED.format(address=shown(uri)))
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    form = "JSON" if isinstance(answer, dict) else "no JSON"
    if response.status_code != 200 or not isinstance(answer, dict):
        raise _Silence(f"what answers says {response.status_code}, {form}")
    if answer.keys() - FOUND:
        raise _Silence(f"what answers says {', '.join(map(bare, answer))}, which is no list of experiments")


def _ask_database(uri: str, scheme: str) -> None:
    limit = {"connect_timeout": int(ANSWER_SECONDS)} if scheme in TIMED else {}
    try:
        sqlalchemy.create_engine(uri, connect_args=limit).connect().close()
    except (SQLAlchemyError, ImportError, ValueError) as error:
        raise _Silence(str(error).splitlines()[0]) from None


def _ask_store(uri: str) -> None:
    """Whatever else MLflow takes, or does not."""
    try:
        MlflowClient(uri).search_experiments(max_results=1)
    except (MlflowException, ImportError, OSError, ValueError) as error:
        raise _Silence(str(error).strip().partition(". ")[0]) from None
