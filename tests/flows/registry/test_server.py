"""Servers that do not answer, and answers of what is no MLflow: told within seconds, on real sockets."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from flows.config.errors import InputError
from flows.registry.server import require_mlflow

PAGES = {
    "/mlflow": (200, json.dumps({"experiments": []})),
    "/page": (200, "<html>"),
    "/broken": (500, "oops"),
    "/ill": (500, json.dumps({"error_code": "INTERNAL_ERROR"})),
    "/list": (200, "[]"),
    "/closed": (401, "who are you"),
}


@pytest.fixture(scope="module")
def pages() -> Iterator[str]:
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, text = next(page for path, page in PAGES.items() if self.path.startswith(f"{path}/"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

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
