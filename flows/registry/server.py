"""Whether the MLflow server or database that the environment names answers; asked before anything is done."""

import re
from urllib.parse import urlparse

import mlflow
import sqlalchemy
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request
from sqlalchemy.exc import SQLAlchemyError

from flows.config.errors import InputError

ANSWER_SECONDS = 5.0
"""How long a server that is there may take to answer."""

CAUSE = re.compile(r"Caused by (\w+)")

TIMED = ("postgresql", "mysql")
"""Databases whose drivers take a `connect_timeout`."""


def require_mlflow() -> None:
    """Ask the servers of the environment once; a local file needs none.

    MLflow's own client tries for minutes, which is right only of a server that has answered before.

    Raises:
        InputError: naming the address, if nothing answers there within seconds, or something that is no MLflow.
    """
    for uri in dict.fromkeys((mlflow.get_tracking_uri(), mlflow.get_registry_uri())):
        scheme = urlparse(uri).scheme.partition("+")[0]
        if scheme in ("http", "https"):
            _ask_server(uri)
        elif scheme in (*TIMED, "mssql"):
            _ask_database(uri, scheme)
        elif scheme != "sqlite":
            _ask_store(uri)


def _ask_server(uri: str) -> None:
    try:
        response = http_request(
            get_default_host_creds(uri),
            "/api/2.0/mlflow/experiments/search",
            "GET",
            params={"max_results": 1},
            max_retries=0,
            timeout=ANSWER_SECONDS,
            raise_on_status=False,
        )
    except MlflowException as error:
        cause = CAUSE.search(str(error))
        raise _silent(uri, cause[1] if cause else str(error).splitlines()[0]) from None
    if response.status_code in (401, 403):
        raise InputError(
            f"the MLflow server at {uri} lets nobody in without a name: set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if response.status_code != 200 or not isinstance(answer, dict):
        form = "JSON" if isinstance(answer, dict) else "no JSON"
        raise _silent(uri, f"what answers says {response.status_code}, {form}")


def _ask_database(uri: str, scheme: str) -> None:
    limit = {"connect_timeout": int(ANSWER_SECONDS)} if scheme in TIMED else {}
    try:
        sqlalchemy.create_engine(uri, connect_args=limit).connect().close()
    except (SQLAlchemyError, ImportError) as error:
        raise _silent(uri, str(error).splitlines()[0]) from None


def _ask_store(uri: str) -> None:
    """Whatever else MLflow takes, or does not."""
    try:
        MlflowClient(uri).search_experiments(max_results=1)
    except (MlflowException, ImportError, OSError) as error:
        raise _silent(uri, str(error).splitlines()[0]) from None


def _silent(uri: str, reason: str) -> InputError:
    return InputError(f"no MLflow server answers at {uri} ({reason}): start it, or mend MLFLOW_TRACKING_URI")
