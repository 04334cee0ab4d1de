"""Servers that do not answer, and answers of what is no MLflow: told within seconds, on real sockets."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from flows.config.errors import InputError
from flows.deploy.status.next_run import next_run
from flows.registry.glance import glance
from flows.registry.server import require_mlflow

PAGES = {
    "/mlflow": (200, json.dumps({"experiments": []})),
    "/page": (200, "<html>"),
    "/broken": (500, "oops"),
    "/ill": (500, json.dumps({"error_code": "INTERNAL_ERROR"})),
    "/list": (200, "[]"),
    "/closed": (401, "who are you"),
    "/other": (200, json.dumps({"items": [1, 2]})),
    "/empty": (200, json.dumps({})),
}


@pytest.fixture(scope="module")
def pages() -> Iterator[str]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/drip/"):
                self.drip()
                return
            status, text = next(page for path, page in PAGES.items() if self.path.startswith(f"{path}/"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def drip(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            with contextlib.suppress(OSError):
                for _ in range(1000):
                    self.wfile.write(b" ")
                    time.sleep(0.05)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_server_that_answers_is_asked_no_more(pages: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{pages}/mlflow")
    require_mlflow()


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("page", "what answers says 200, no JSON"),
        ("broken", "what answers says 500, no JSON"),
        ("ill", "what answers says 500, JSON"),
        ("list", "what answers says 200, no JSON"),
        ("closed", "set MLFLOW_TRACKING_USERNAME"),
        ("other", "says items, which is no list of experiments"),
    ],
)
def test_what_is_no_mlflow_is_told(pages: str, path: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{pages}/{path}")
    with pytest.raises(InputError, match=told):
        require_mlflow()


@pytest.mark.parametrize(
    "uri", ["http://127.0.0.1:9", "http://me:secret@127.0.0.1:9", "postgresql://me:secret@127.0.0.1:9/x", "htp://x"]
)
def test_where_nothing_listens_is_told_without_the_password(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(InputError, match=r"^no MLflow server answers at .* mend MLFLOW_TRACKING_URI$") as refused:
        require_mlflow()
    assert "secret" not in str(refused.value)


def test_a_server_that_takes_the_question_and_says_nothing_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.registry.server.ANSWER_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{mute.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(InputError, match=r"\(ReadTimeoutError\)"):
            require_mlflow()
        assert 0.3 <= time.monotonic() - started < 5.0


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("page", r"no MLflow answers at .* \(JSONDecodeError\)"),
        ("broken", r"no MLflow answers at .* \(HTTPStatusError\)"),
        ("list", "is no MLflow: mend the address"),
        ("other", "is no MLflow: mend the address"),
        ("closed", "set MLFLOW_TRACKING_USERNAME"),
    ],
)
def test_a_glance_at_what_is_no_mlflow_tells_so(
    pages: str, path: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{pages}/{path}")
    with pytest.raises(InputError, match=told):
        glance().aliased("tiny")


def test_a_glance_at_an_empty_registry_finds_nothing(pages: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{pages}/empty")
    assert glance().aliased("tiny") == [] and glance().runs("tiny", "rlhf.stage") == []


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("page", "no Prefect server answers at .* (JSONDecodeError)"),
        ("other", "is no Prefect server: mend PREFECT_API_URL"),
        ("closed", "set PREFECT_API_AUTH_STRING"),
        ("list", ""),
    ],
)
def test_what_is_no_prefect_is_told_by_the_status(
    pages: str, path: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"{pages}/{path}")
    run, wrong = next_run("tiny")
    assert run is None and len(wrong) == bool(told)
    assert all(part in line for line in wrong for part in told.split(" .* "))


def test_an_answer_without_end_is_waited_for_once(pages: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("rest", "server"):
        monkeypatch.setattr(f"flows.registry.{module}.ANSWER_SECONDS", 0.5)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{pages}/drip")
    monkeypatch.setenv("PREFECT_API_URL", f"{pages}/drip")
    started = time.monotonic()
    for ask in (require_mlflow, lambda: glance().aliased("tiny")):
        with pytest.raises(InputError, match="its answer does not come to an end"):
            ask()
    assert "does not come to an end" in next_run("tiny")[1][0]
    assert time.monotonic() - started < 10.0
