"""Names and passwords in addresses of servers, moved to the variables that the clients of these servers have for them.

An address is shown in links, logs, tags and errors of MLflow, Prefect and their libraries; these variables in none.
"""

import os
from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

from flows.config.errors import InputError

TRACKING, REGISTRY, USERNAME, PASSWORD = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
)

PREFECT, AUTH_STRING = "PREFECT_API_URL", "PREFECT_API_AUTH_STRING"


class _Account(NamedTuple):
    address: str
    name: str
    password: str


def part_credentials() -> None:
    """Leave no name and password in the addresses of HTTP servers that the environment names.

    As in their clients, those of an address win over those of a variable.

    Raises:
        InputError: if the two addresses of MLflow, whose client knows one account, have different ones.
    """
    registry, tracking = _parted(REGISTRY), _parted(TRACKING)
    if registry and tracking and registry[1:] != tracking[1:]:
        raise InputError(
            f"{TRACKING} and {REGISTRY} hold two names or passwords, and MLflow's client knows one: give both servers "
            f"the same, and set {USERNAME} and {PASSWORD}"
        )
    for variable, account in ((REGISTRY, registry), (TRACKING, tracking)):
        if account:
            os.environ.update({variable: account.address, USERNAME: account.name, PASSWORD: account.password})
    if account := _parted(PREFECT):
        os.environ.update({PREFECT: account.address, AUTH_STRING: f"{account.name}:{account.password}"})


def _parted(variable: str) -> _Account | None:
    """The address that a variable holds and its account, None where it has no account, or its clients would not see."""
    try:
        parts = urlsplit(os.environ.get(variable, ""))
    except ValueError:  # which whoever asks there is told of
        return None
    userinfo, _, host = parts.netloc.rpartition("@")
    name, _, password = userinfo.partition(":")
    if parts.scheme not in ("http", "https") or not name or not password:
        return None
    return _Account(urlunsplit(parts._replace(netloc=host)), unquote(name), unquote(password))
