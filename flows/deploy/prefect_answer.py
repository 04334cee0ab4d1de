"""Whether the Prefect server that the environment names answers; asked before anything is done."""

import os

import httpx
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from flows.config.errors import InputError

ANSWER_SECONDS = 5.0
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
    with temporary_settings(impatient), get_client(sync_client=True) as client:
        try:
            client.request("GET", "/health").json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:  # a page instead of JSON among them
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(
                f"PREFECT_API_URL {address}: no Prefect server answers there ({reason}); start it, or mend the address"
            ) from None
