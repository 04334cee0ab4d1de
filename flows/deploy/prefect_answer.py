"""Whether the Prefect server that the environment names answers; asked before anything is done."""

import os

import httpx
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from flows.config.addresses import shown
from flows.config.errors import InputError

LOCKED = ("what answers says 401", "what answers says 403")

ANSWER_SECONDS = 10.0
"""How long a server that is there may take to answer."""


def require_prefect() -> None:
    """Ask the server of the environment once.

    Raises:
        InputError: if none is named, or none answers within seconds.
    """
    address = os.environ.get("PREFECT_API_URL")
    if not address:
        raise InputError(
            "PREFECT_API_URL names no Prefect server to deploy to; start one (`prefect server start`) and set it, "
            "such as http://127.0.0.1:4200/api"
        )
    impatient = {PREFECT_CLIENT_MAX_RETRIES: 0, PREFECT_API_REQUEST_TIMEOUT: ANSWER_SECONDS}
    try:
        with temporary_settings(impatient), get_client(sync_client=True) as client:
            answer = client.request("GET", "/health").json()
        reason = None if answer is True else "what answers is another server"
    except httpx.HTTPStatusError as error:
        reason = f"what answers says {error.response.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, RuntimeError) as error:  # a page instead of JSON among them
        reason = type(error).__name__
    if reason in LOCKED:
        raise InputError(
            f"PREFECT_API_URL {shown(address)}: lets nobody in without a name; set PREFECT_API_AUTH_STRING, or "
            "PREFECT_API_KEY"
        )
    if reason is not None:
        raise InputError(
            f"PREFECT_API_URL {shown(address)}: no Prefect server answers there ({reason}): start it, or mend the "
            "address"
        )
