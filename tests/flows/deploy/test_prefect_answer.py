"""What answers where a Prefect server should: nothing, another server, or a closed door, on real sockets."""

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from flows.config.errors import InputError
from flows.deploy.prefect_answer import require_prefect

PAGES = {
    "/prefect": (200, "true"),
    "/json": (200, '{"status": "ok"}'),
    "/page": (200, "<html>"),
    "/none": (404, "nothing"),
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
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_prefect_server_is_taken(pages: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"http://{pages}/prefect")
    require_prefect()


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("json", r"\(what answers is another server\): start it"),
        ("page", r"\(JSONDecodeError\): start it"),
        ("none", r"\(what answers says 404\): start it"),
        ("closed", "lets nobody in without a name; set PREFECT_API_AUTH_STRING"),
    ],
)
def test_another_server_is_told_without_the_password(
    pages: str, path: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"http://me:geheim@{pages}/{path}")
    with pytest.raises(InputError, match=told) as refused:
        require_prefect()
    assert str(refused.value).startswith(f"PREFECT_API_URL http://{pages}/{path}: ")


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/api", "http://nobody.invalid/api"])
def test_where_nothing_listens_is_told(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", address)
    with pytest.raises(InputError, match=r"no Prefect server answers there \(\w+\): start it, or mend the address"):
        require_prefect()


def test_a_server_that_says_nothing_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.deploy.prefect_answer.ANSWER_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{mute.getsockname()[1]}/api")
        started = time.monotonic()
        with pytest.raises(InputError, match=r"\(ReadTimeout\)"):
            require_prefect()
        assert 0.3 <= time.monotonic() - started < 10.0
