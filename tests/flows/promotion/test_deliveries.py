"""What the receiver takes and answers, without servers behind it; with them: tests/e2e/promotion."""

import contextlib
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from fastapi.testclient import TestClient
from mlflow import MlflowClient
from prefect.settings import PREFECT_API_URL, temporary_settings
from starlette.datastructures import Headers

from flows.config.errors import InputError
from flows.promotion import receiver as receiver_module
from flows.promotion.outbox import Outbox
from flows.promotion.receiver import LONGEST_BODY, PATH, RegistryWatcher, ShortConnection, create_app, serve
from flows.promotion.webhook import Refused, keep_secret, signature, verify

SECRET = "shared-with-mlflow"
TOLERANCE = 300
ALIAS = {"name": "x-reward-model", "alias": "champion", "version": "1"}
BODY = json.dumps({"entity": "model_version_alias", "action": "created", "data": ALIAS}).encode()
OTHER = BODY.replace(b'"1"', b'"2"')


def watcher_of(folder: Path, tracking: str = "http://127.0.0.1:9") -> RegistryWatcher:
    client = MlflowClient(tracking_uri=tracking)
    return RegistryWatcher(client, Outbox(folder / "ledger.db"), "http://127.0.0.1:5050/mlflow", SECRET, every=60)


def app_of(watcher: RegistryWatcher) -> TestClient:
    return TestClient(create_app(watcher, tolerance=TOLERANCE))


@pytest.fixture
def receiver(tmp_path: Path) -> TestClient:
    return app_of(watcher_of(tmp_path))


def signed(identity: str = "a", *, at: float | None = None, body: bytes = BODY, secret: str = SECRET) -> dict[str, str]:
    """Headers of a delivery."""
    stamp = str(int(time.time() if at is None else at))
    return {
        "X-MLflow-Delivery-Id": identity,
        "X-MLflow-Timestamp": stamp,
        "X-MLflow-Signature": signature(secret, identity, stamp, body),
    }


def refusal(headers: dict[str, str], body: bytes = BODY) -> str:
    try:
        verify(SECRET, Headers(headers), body, now=time.time(), tolerance=TOLERANCE)
    except Refused as refused:
        return str(refused)
    return ""


def test_only_what_mlflow_signed_just_now_is_genuine() -> None:
    assert refusal(signed()) == ""
    assert refusal(signed(secret="guessed")) == refusal(signed(), OTHER) == "the signature does not fit"
    assert refusal(signed(at=time.time() - 301)).startswith("the time of the delivery is more than 300 s away")
    assert refusal(signed(at=time.time() + 302)).startswith("the time of the delivery is more than 300 s away")


def test_what_only_a_keeper_of_the_secret_could_sign_is_refused_too_if_it_is_no_delivery() -> None:
    stamp, nested = "1" * 5000, b"[" * 100_000
    signature_of = {"X-MLflow-Timestamp": stamp, "X-MLflow-Signature": signature(SECRET, "a", stamp, BODY)}
    assert "s away" in refusal(signed() | signature_of)
    assert refusal(signed(body=nested), nested) == "the body is not what MLflow sends"


def test_a_port_that_is_taken_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with socket.create_server(("127.0.0.1", 0)) as taken, temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9"}):
        port = taken.getsockname()[1]
        with pytest.raises(
            InputError, match=rf"^--host 127\.0\.0\.1 --port {port}: Address already in use; name others"
        ):
            serve(tmp_path, host="127.0.0.1", port=port, address="http://127.0.0.1", every=60, tolerance=TOLERANCE)


def is_open(connection: socket.socket) -> bool:
    """Whether the other side has not ended it, which it does within a moment."""
    connection.settimeout(0.2)
    try:
        return bool(connection.recv(1))
    except TimeoutError:
        return True
    except ConnectionError:
        return False


def test_connections_that_send_half_a_request_are_few_and_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver_module, "CONNECTIONS", 4)
    monkeypatch.setattr(receiver_module, "CONNECTION_SECONDS", 2.0)
    app = create_app(watcher_of(tmp_path), tolerance=TOLERANCE)
    server = uvicorn.Server(uvicorn.Config(app, http=ShortConnection, log_level="warning"))
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as stack:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        address = listener.getsockname()
        halves = [stack.enter_context(socket.create_connection(address)) for _ in range(10)]
        for half in halves:
            with contextlib.suppress(ConnectionError):
                half.sendall(b"POST /mlflow HTTP/1.1\r\nHost: x\r\nX-a: ")
        assert sum(map(is_open, halves)) <= 4
        time.sleep(2.5)
        assert not any(map(is_open, halves))
        health = httpx.get(f"http://127.0.0.1:{address[1]}/health")
        server.should_exit = True
        thread.join()
    assert health.status_code == 200


def test_a_genuine_delivery_has_the_registry_looked_at(tmp_path: Path) -> None:
    watcher = watcher_of(tmp_path)
    answer = app_of(watcher).post(PATH, content=BODY, headers=signed())
    assert (answer.status_code, answer.json(), watcher.wake.is_set()) == (202, {"looking": True}, True)


@pytest.mark.parametrize("missing", ["X-MLflow-Delivery-Id", "X-MLflow-Timestamp", "X-MLflow-Signature"])
def test_an_unsigned_delivery_is_refused(receiver: TestClient, missing: str) -> None:
    headers = {name: value for name, value in signed().items() if name != missing}
    answer = receiver.post(PATH, content=BODY, headers=headers)
    assert (answer.status_code, answer.json()) == (401, {"detail": "the delivery is not signed"})


@pytest.mark.parametrize(
    "headers",
    [
        signed(secret="guessed"),
        signed(body=OTHER),
        signed("b") | {"X-MLflow-Delivery-Id": "a"},
        signed(at=time.time() - 5) | {"X-MLflow-Timestamp": str(int(time.time()))},
        signed() | {"X-MLflow-Signature": "v1,"},
    ],
    ids=["other secret", "other body", "other id", "other time", "empty"],
)
def test_a_delivery_that_was_signed_otherwise_is_refused(receiver: TestClient, headers: dict[str, str]) -> None:
    answer = receiver.post(PATH, content=BODY, headers=headers)
    assert (answer.status_code, answer.json()) == (401, {"detail": "the signature does not fit"})


@pytest.mark.parametrize("seconds", [-TOLERANCE - 5, TOLERANCE + 5])
def test_a_stale_delivery_is_refused_and_one_of_a_clock_ahead(receiver: TestClient, seconds: int) -> None:
    answer = receiver.post(PATH, content=BODY, headers=signed(at=time.time() + seconds))
    assert answer.status_code == 401 and "300 s away" in answer.json()["detail"]


@pytest.mark.parametrize("seconds", [-TOLERANCE + 30, TOLERANCE - 30])
def test_a_replayed_delivery_is_refused_by_a_later_receiver_too(tmp_path: Path, seconds: int) -> None:
    headers = signed(at=time.time() + seconds)
    assert app_of(watcher_of(tmp_path)).post(PATH, content=BODY, headers=headers).status_code == 202
    for _ in range(2):
        later = watcher_of(tmp_path)
        assert app_of(later).post(PATH, content=BODY, headers=headers).status_code == 409
        assert not later.wake.is_set()


def test_a_delivery_is_remembered_for_as_long_as_its_age_lets_it_in(tmp_path: Path) -> None:
    outbox, early = Outbox(tmp_path / "ledger.db"), 1_000_000.0  # its clock is TOLERANCE ahead
    assert outbox.is_new("a", now=early, keep_seconds=2 * TOLERANCE)
    assert not outbox.is_new("a", now=early + 2 * TOLERANCE, keep_seconds=2 * TOLERANCE)


@pytest.mark.parametrize("length", [LONGEST_BODY, LONGEST_BODY + 1])
@pytest.mark.parametrize("chunked", [False, True])
def test_an_oversized_delivery_is_refused_before_it_is_read_whole(
    receiver: TestClient, length: int, chunked: bool
) -> None:
    sent = []

    def chunks() -> Iterator[bytes]:
        for _ in range(length // 1024 + bool(length % 1024)):
            sent.append(1024)
            yield b" " * min(1024, length - sum(sent[:-1]))

    answer = receiver.post(PATH, content=chunks() if chunked else b" " * length, headers=signed(body=b" " * length))
    told = {LONGEST_BODY: (401, "the body is not what MLflow sends"), LONGEST_BODY + 1: (413, "more than 65536 bytes")}
    assert (answer.status_code, answer.json()["detail"]) == told[length]


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/mlflow"])
def test_only_the_health_can_be_read(receiver: TestClient, path: str) -> None:
    assert receiver.get(path).status_code in (404, 405)


def test_health_and_log_name_the_server_that_is_away_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    watcher = watcher_of(tmp_path, "http://me:planted-word@127.0.0.1:9")
    with caplog.at_level(logging.WARNING):
        watcher.look()
    told = app_of(watcher).get("/health").text + caplog.text
    assert told.count("http://***@127.0.0.1:9") >= 4 and "planted-word" not in told  # webhook and registry, in each
    assert json.loads(app_of(watcher).get("/health").text)["status"] == "degraded"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_secret_is_for_its_owner_only_and_stays(tmp_path: Path, umask: int) -> None:
    path, before = tmp_path / "webhook.secret", os.umask(umask)
    try:
        secret = keep_secret(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert keep_secret(path) == secret == path.read_text() and len(secret) > 40
