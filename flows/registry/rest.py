"""A question to the REST API of a server, which has seconds for all of its answer."""

import json
import time
from collections.abc import Iterable
from typing import Any

import httpx

ANSWER_SECONDS = 5.0
"""How long a server may take to answer."""

MLFLOW_CLOSED = (
    "the MLflow server at {address} lets nobody in without a name: set MLFLOW_TRACKING_USERNAME and "
    "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
)

_CLOSED = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)


class NoAnswer(Exception):
    """Why what a server said is no answer."""


class NoEntry(NoAnswer):
    """The server wants a name and a password, or others than these."""


def ask(method: str, address: str, **given: Any) -> Any:
    """The JSON that a server answers, also where it says that there is no such thing.

    Args:
        method: GET or POST.
        address: of the question.
        given: what httpx takes, such as `params`, `json` or `auth`.

    Raises:
        NoAnswer: if nothing answers in time, or no JSON; NoEntry if it is a matter of the password.
    """
    until = time.monotonic() + ANSWER_SECONDS
    try:
        with httpx.stream(method, address, timeout=ANSWER_SECONDS, **given) as answer:
            if answer.status_code in _CLOSED:
                raise NoEntry("lets nobody in without a name and a password")
            content = whole(answer.iter_bytes(), until)
            if answer.status_code != httpx.codes.NOT_FOUND:
                answer.raise_for_status()
        return json.loads(content)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise NoAnswer(type(error).__name__) from None


def whole(parts: Iterable[bytes], until: float) -> bytes:
    """An answer that comes in parts, each of which may be in time where the whole is not.

    Args:
        parts: of the answer, as they come.
        until: when it must be there, on the monotonic clock.

    Raises:
        NoAnswer: if it is not.
    """
    content = b""
    for part in parts:
        content += part
        if time.monotonic() > until:
            raise NoAnswer("its answer does not come to an end")
    return content
