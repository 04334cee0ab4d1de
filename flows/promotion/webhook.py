"""MLflow's registry webhooks: the receiver's own one, and whether a delivery really comes from MLflow.

Signature and headers: `mlflow.webhooks.delivery`, which follows standardwebhooks.com.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from mlflow import MlflowClient
from mlflow.entities.webhook import Webhook, WebhookEvent
from mlflow.webhooks.constants import (
    WEBHOOK_DELIVERY_ID_HEADER,
    WEBHOOK_SIGNATURE_HEADER,
    WEBHOOK_SIGNATURE_VERSION,
    WEBHOOK_TIMESTAMP_HEADER,
)

from flows.registry.names import CHAMPION

WEBHOOK = "rlhf-receiver"

EVENT: Final = "model_version_alias.created"


DIGITS = 12
"""Of a time in seconds since the epoch, at most."""


class Refused(Exception):
    """A delivery that cannot be shown to come from MLflow, now; the message says why."""


class Delivery(NamedTuple):
    """A genuine delivery.

    Attributes:
        id: MLflow's id of it; the same when MLflow tries again.
        event: entity and action, such as `model_version_alias.created`.
        data: what it says; for an alias its `name`, `alias` and `version`.
    """

    id: str
    event: str
    data: dict[str, Any]

    @property
    def moves_champion(self) -> bool:
        """Whether it says that a version became champion."""
        return self.event == EVENT and self.data.get("alias") == CHAMPION


def signature(secret: str, delivery: str, timestamp: str, body: bytes) -> str:
    """What MLflow writes into the signature header: HMAC-SHA256 over id, timestamp and body, in base64."""
    signed = f"{delivery}.{timestamp}.".encode() + body
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    return f"{WEBHOOK_SIGNATURE_VERSION},{base64.b64encode(digest).decode()}"


def verify(secret: str, headers: Mapping[str, str], body: bytes, *, now: float, tolerance: float) -> Delivery:
    """Check signature and age of a delivery, and read it.

    Args:
        secret: shared with MLflow.
        headers: of the request, looked up without regard to case.
        body: exactly as it came.
        now: seconds since the epoch.
        tolerance: seconds that the delivery's time may be away from now, either way.

    Raises:
        Refused: if it is unsigned, signed by somebody else, altered, too old, or no JSON of a webhook.
    """
    delivery, timestamp, signed = (
        headers.get(name) for name in (WEBHOOK_DELIVERY_ID_HEADER, WEBHOOK_TIMESTAMP_HEADER, WEBHOOK_SIGNATURE_HEADER)
    )
    if delivery is None or timestamp is None or signed is None:
        raise Refused("the delivery is not signed")
    if not hmac.compare_digest(signed.encode(), signature(secret, delivery, timestamp, body).encode()):
        raise Refused("the signature does not fit")
    if not timestamp.isdecimal() or len(timestamp) > DIGITS or abs(now - int(timestamp)) > tolerance:
        raise Refused(f"the time of the delivery is more than {tolerance:g} s away; compare the clocks")
    try:
        content = json.loads(body)
        return Delivery(delivery, f"{content['entity']}.{content['action']}", dict(content["data"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Refused("the body is not what MLflow sends") from None


def keep_secret(path: Path) -> str:
    """The secret shared with MLflow; drawn the first time, in a file that only its owner can read."""
    if not path.exists():
        draft = path.with_suffix(".new")
        draft.unlink(missing_ok=True)  # of a start that was cut off
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32))
        draft.replace(path)
    return path.read_text()


def register_webhook(client: MlflowClient, url: str, secret: str) -> None:
    """Make MLflow tell `url` of every new alias; a webhook of an earlier start is brought up to date.

    Raises:
        MlflowException: if MLflow is away or refuses the address.
    """
    mine = find_webhook(client)
    if mine is None:
        client.create_webhook(WEBHOOK, url, [EVENT], "Promotions, for the receiver of RLHF Ladder", secret)
    else:
        client.update_webhook(mine.webhook_id, url=url, events=[EVENT], secret=secret, status="ACTIVE")


def find_webhook(client: MlflowClient) -> Webhook | None:
    """The receiver's webhook, None where MLflow has none."""
    return next((webhook for webhook in _webhooks(client) if webhook.name == WEBHOOK), None)


def calls(webhook: Webhook | None, url: str) -> bool:
    """Whether this webhook tells `url` of new aliases."""
    if webhook is None:
        return False
    return bool(webhook.url == url and webhook.status.is_active() and WebhookEvent.from_str(EVENT) in webhook.events)


def _webhooks(client: MlflowClient) -> Iterator[Webhook]:
    page = client.list_webhooks()
    yield from page
    while page.token:
        page = client.list_webhooks(page_token=page.token)
        yield from page
