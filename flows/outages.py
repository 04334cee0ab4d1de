"""Whether an MLflow did not answer, which is not the same as that it does not have what it was asked for."""

from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.exceptions import MlflowException
from requests.exceptions import RequestException

TOO_MANY_REQUESTS = 429


def passes(status: int) -> bool:
    """Whether what a server answers with this status it may answer otherwise in a minute."""
    return status == TOO_MANY_REQUESTS or status >= 500


def gave_up(error: object) -> bool:
    """Whether MLflow's client says that its server did not answer, which it has then asked for minutes by itself."""
    return isinstance(error, MlflowException) and isinstance(error.__context__, RequestException)


@contextmanager
def unless_away() -> Iterator[None]:
    """Pass over what MLflow refuses, such as what is not there or there already; that it is away is raised."""
    try:
        yield
    except MlflowException as error:
        if passes(error.get_http_status_code()):
            raise
