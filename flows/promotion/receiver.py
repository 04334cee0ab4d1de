"""Receiver of MLflow's webhooks: looks at the registry when one is delivered, and every minute.

A delivery is only a reason to look; what happened is read from the registry. So a lost delivery costs up to a minute,
and a forged one could do no more than have the receiver look.
"""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from mlflow import MlflowClient
from prefect.settings import get_current_settings
from uvicorn.protocols.http.h11_impl import H11Protocol

from flows.config.errors import InputError
from flows.config.lineage import OpenLineageConfig
from flows.config.redaction import redact
from flows.promotion.outbox import Outbox
from flows.promotion.reconcile import detect, publish
from flows.promotion.wanted import NOTHING_MORE, Wanted
from flows.promotion.webhook import Refused, calls, find_webhook, keep_secret, register_webhook, verify
from flows.storage.locks import exclusive

PATH = "/mlflow"

LONGEST_BODY = 65_536
"""Bytes; what MLflow sends of an alias takes some hundred."""

CONNECTIONS = 100
"""At a time; MLflow makes one for each delivery."""

CONNECTION_SECONDS = 30.0
"""How long one may last."""

CONFIRM_SECONDS = 10.0
"""How soon to ask whether Prefect kept an event; it writes events after up to 5 s and knows a repeated one for 300."""


log = logging.getLogger(__name__)


@dataclass
class RegistryWatcher:
    """Looks at the registry again and again, in a thread of its own; the only one that handles promotions.

    Attributes:
        url: where MLflow sends its deliveries.
        every: seconds between looks that nobody asked for.
        told: where lineage events of promotions go, if anywhere.
        wanted: what a promotion must have besides before it is passed on.
        looked: when the last look ended.
        problems: what went wrong in it, by step.
    """

    client: MlflowClient
    outbox: Outbox
    url: str
    secret: str
    every: float
    told: OpenLineageConfig | None = None
    wanted: Wanted = NOTHING_MORE
    wake: threading.Event = field(default_factory=threading.Event)
    looked: str | None = None
    problems: dict[str, str] = field(default_factory=dict)
    registered: bool = False

    def run(self) -> None:
        """Look until the process ends, which may be at any moment."""
        while True:
            self.wake.clear()
            self.look()
            unconfirmed = bool(self.outbox.having("open"))
            self.wake.wait(min(self.every, CONFIRM_SECONDS) if unconfirmed else self.every)

    def look(self) -> None:
        """Do each step, whatever becomes of the others: servers that are away come back."""
        steps: dict[str, Callable[[], None]] = {
            "webhook": self._register,
            "registry": lambda: detect(self.client, self.outbox, self.outbox.path.parent, self.told, self.wanted),
            "prefect": lambda: publish(self.outbox),
        }
        problems: dict[str, str] = {}
        for name, step in steps.items():
            try:
                step()
            except Exception as error:
                problems[name] = redact(f"{type(error).__name__}: {error}")
                if problems[name] != self.problems.get(name):
                    log.warning("%s: %s", name, problems[name])
        self.problems = problems
        self.looked = datetime.now(UTC).isoformat()

    def _register(self) -> None:
        """Once for this process, as an older webhook may have another secret; and whenever it is gone."""
        if not self.registered or not calls(find_webhook(self.client), self.url):
            register_webhook(self.client, self.url, self.secret)
            self.registered = True


def create_app(watcher: RegistryWatcher, *, tolerance: float) -> FastAPI:
    """The receiver's pages.

    Args:
        watcher: told to look by genuine deliveries.
        tolerance: seconds that a delivery's time may be away from ours.
    """
    app = FastAPI(title="RLHF Ladder: receiver of promotions", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/health")
    def health() -> dict[str, Any]:
        return {
            "status": "degraded" if watcher.problems else "ok",
            "looked": watcher.looked,
            "problems": watcher.problems,
            "open": [promotion.label for promotion in watcher.outbox.having("open")],
            "held": {promotion.label: promotion.reason for promotion in watcher.outbox.having("held")},
        }

    @app.post(PATH, status_code=202)
    async def receive(request: Request) -> dict[str, bool]:
        body = await _body(request)
        now = time.time()
        try:
            delivery = verify(watcher.secret, request.headers, body, now=now, tolerance=tolerance)
        except Refused as refusal:
            log.warning("refused a delivery: %s", refusal)
            raise HTTPException(401, str(refusal)) from None
        if not watcher.outbox.is_new(delivery.id, now=now, keep_seconds=2 * tolerance):
            log.warning("refused delivery %s: seen before", delivery.id)
            raise HTTPException(409, "this delivery was seen before")
        if delivery.moves_champion:
            watcher.wake.set()
        return {"looking": delivery.moves_champion}

    return app


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST_BODY:
            raise HTTPException(413, f"more than {LONGEST_BODY} bytes")
    return body


def serve(
    folder: Path,
    *,
    host: str,
    port: int,
    address: str,
    every: float,
    tolerance: float,
    told: OpenLineageConfig | None = None,
    wanted: Wanted = NOTHING_MORE,
) -> None:
    """Receive until told to end; a second receiver on the same folder waits for the first.

    Args:
        folder: keeps secret and outbox.
        host: interface to listen on.
        port: to listen on.
        address: how MLflow reaches this receiver, without a path.
        every: seconds between looks at the registry.
        tolerance: seconds that a delivery's time may be away from ours.
        told: where lineage events of promotions go, if anywhere.
        wanted: what a promotion must have besides before it is passed on.

    Raises:
        InputError: if the environment names no servers, or it cannot listen there.
    """
    if not mlflow.get_tracking_uri().startswith("http") or get_current_settings().api.url is None:
        raise InputError("promotions come from servers: set MLFLOW_TRACKING_URI and PREFECT_API_URL")
    with exclusive(folder / "receiver.lock"):
        watcher = RegistryWatcher(
            client=MlflowClient(),
            outbox=Outbox(folder / "ledger.db"),
            url=address.rstrip("/") + PATH,
            secret=keep_secret(folder / "webhook.secret"),
            every=every,
            told=told,
            wanted=wanted,
        )
        app = create_app(watcher, tolerance=tolerance)
        server = uvicorn.Server(uvicorn.Config(app, http=ShortConnection, log_level="warning"))
        with _listening(host, port) as listener:
            log.info("receiving at %s, looking every %g s", watcher.url, every)
            threading.Thread(target=watcher.run, name="registry-watcher", daemon=True).start()
            server.run(sockets=[listener])


class ShortConnection(H11Protocol):
    """A connection that ends after a while whatever it has sent, and at once where there are too many."""

    # The library's own signature, which is narrower than that of asyncio.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, or end."""
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
        else:
            self.loop.call_later(CONNECTION_SECONDS, transport.close)


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        raise InputError(f"--host {host} --port {port}: {reason}; name others, or end what listens there") from None
