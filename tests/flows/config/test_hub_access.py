"""A hub that is dead, silent, unknown or says no: one line each, in seconds; what its cache holds is used anyway."""

import errno
import json
import socket
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from huggingface_hub import constants, snapshot_download
from typer.testing import CliRunner

from flows.cli import app
from flows.config import hub_access
from flows.config.errors import InputError
from flows.config.hub_access import asking_hub, require_on_hub
from flows.config.pretrained import HubModel
from flows.data.files import read_hub
from flows.registry.client import Registry
from flows.registry.external_models import files_of
from tests.conftest import TINY, Finished

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = HubModel(model="someone/model", revision=COMMIT)


@pytest.fixture
def ask_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Ask another hub, with an empty cache and half a second of patience."""

    def change(address: str) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
        )

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub_access, "PATIENCE_SECONDS", 0.5)
    return change


@pytest.fixture
def closed() -> str:
    """An address at which nobody listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def silent() -> Iterator[str]:
    """An address at which everybody is let in and nobody answered."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def answering() -> Iterator[Callable[..., str]]:
    """The address of a hub that is there, and answers each request with a status and headers."""
    servers = []

    def start(status: int, **headers: str) -> str:
        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_HEAD = do_GET

            def log_message(self, *_: object) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("kind", ["closed", "silent", "http://no-such-host.invalid", "no-scheme"])
def test_a_hub_that_does_not_answer_is_told_in_seconds(
    kind: str, ask_at: Callable[[str], None], request: pytest.FixtureRequest
) -> None:
    address = request.getfixturevalue(kind) if kind in ("closed", "silent") else kind
    ask_at(address)
    start = time.monotonic()
    with pytest.raises(InputError) as preflight:
        require_on_hub("base", "model", MODEL.model, COMMIT)
    with pytest.raises(InputError) as models:
        files_of(MODEL, Registry.__new__(Registry))
    with pytest.raises(InputError) as data:
        list(read_hub("someone/data", revision=COMMIT, split="train", data_dir=None))
    assert time.monotonic() - start < 10
    for refused, named in (
        (preflight, "model someone/model"),
        (models, "model someone/model"),
        (data, "data set someone/data"),
    ):
        said = str(refused.value)
        assert f"the hub cannot be reached ({address}: " in said
        assert f"its cache here lacks {named}@01234567: connect" in said
        assert "\n" not in said
    assert str(preflight.value).startswith("field 'base': ")
    assert str(preflight.value).endswith(", or check the rest with --offline")


def test_a_name_whose_look_up_hangs_is_told_in_seconds(
    ask_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_at("http://hanging.invalid")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(3))
    start = time.monotonic()
    with pytest.raises(InputError, match=r"hanging.invalid: no answer in 0.5 seconds"):
        require_on_hub("base", "model", MODEL.model, COMMIT)
    assert time.monotonic() - start < 2


def test_a_hub_that_is_not_to_be_asked_is_told_so(
    ask_at: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        InputError, match=r"^field 'base': the hub cannot be reached \(HF_HUB_OFFLINE is set\), and its"
    ):
        require_on_hub("base", "model", MODEL.model, COMMIT)


def test_what_the_cache_holds_needs_no_hub(ask_at: Callable[[str], None], closed: str, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "models--someone--model" / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text("{}")
    ask_at(closed)
    assert files_of(MODEL, Registry.__new__(Registry)) == folder
    assert constants.HF_HUB_OFFLINE is False


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (
            401,
            {"X_Error_Code": "GatedRepo"},
            "only to who accepted its terms; accept them on its page and set HF_TOKEN",
        ),
        (403, {"X_Error_Code": "GatedRepo"}, "only to who accepted its terms"),
        (
            401,
            {"X_Error_Code": "RepoNotFound"},
            "the hub has no model someone/model@01234567 that it shows: check the name, and set HF_TOKEN",
        ),
        (404, {"X_Error_Code": "RepoNotFound"}, "the hub has no model someone/model@01234567 that it shows"),
        (
            404,
            {"X_Error_Code": "RevisionNotFound"},
            "the hub has no such revision of model someone/model@01234567: check",
        ),
        (
            401,
            {"X_Error_Message": "Invalid credentials in Authorization header"},
            "the hub does not know who asks for .* mend HF_TOKEN",
        ),
        (403, {"X_Error_Message": "Access to this resource is disabled."}, "the hub has closed model someone/model"),
        (403, {}, "the hub forbids model someone/model@01234567 to this token"),
        (429, {"Retry_After": "300"}, "the hub has had too many requests .429.*: wait a few minutes"),
        (503, {}, "the hub fails at model someone/model@01234567 .503.: try again later"),
        (418, {}, "the hub gives no model someone/model@01234567 .418.: check name and revision"),
    ],
)
def test_each_answer_of_the_hub_is_one_line_with_its_mend(
    status: int, headers: dict[str, str], said: str, ask_at: Callable[[str], None], answering: Callable[..., str]
) -> None:
    ask_at(answering(status, **headers))
    start = time.monotonic()
    with pytest.raises(InputError, match=rf"^field 'base': .*{said}") as refused:
        require_on_hub("base", "model", MODEL.model, COMMIT)
    assert "\n" not in str(refused.value)
    assert time.monotonic() - start < 5


def test_a_name_that_no_hub_can_have_is_told(ask_at: Callable[[str], None], answering: Callable[..., str]) -> None:
    ask_at(answering(200))
    with (
        pytest.raises(InputError, match=r"^the hub can have no model a--b \(.*\): write owner/name$"),
        asking_hub("model a--b"),
    ):
        snapshot_download("a--b")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "/cache"),
            "cannot be kept in the cache (Permission denied: /c",
        ),
        (
            OSError("x has no file named config.json\nlook at it"),
            "gives no model x (x has no file named config.json): ch",
        ),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "the hub broke off at model x ("),
    ],
)
def test_what_libraries_say_of_the_hub_is_told(
    error: OSError, said: str, ask_at: Callable[[str], None], answering: Callable[..., str]
) -> None:
    ask_at(answering(200))
    with pytest.raises(InputError) as refused, asking_hub("model x"):
        raise error
    assert said in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "error", [ValueError("two templates"), KeyError("x"), OSError(errno.EIO, "Input/output error")]
)
def test_what_is_no_matter_of_the_hub_stays_what_it_is(
    error: Exception, ask_at: Callable[[str], None], answering: Callable[..., str], closed: str
) -> None:
    for address in (answering(200), closed):
        ask_at(address)
        with pytest.raises(type(error)) as raised, asking_hub("model x"):
            raise error
        assert raised.value is error


def test_the_command_says_in_a_line_that_there_is_no_network(
    rlhf: Callable[..., Finished], closed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", closed)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    base = json.dumps({"kind": "hub", "model": MODEL.model, "revision": COMMIT})
    taken = ("--set", "data={kind: embedded}", "--set", f"base={base}", "--set", f"storage={tmp_path / 'storage'}")
    done = rlhf("config", "check", TINY, *taken)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: field 'base': the hub cannot be reached ({closed}: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "storage").exists()


def test_the_command_refuses_a_proxy_that_it_cannot_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    refused = CliRunner().invoke(app, ["config", "check", str(TINY)])
    assert refused.exit_code == 2
    assert refused.stderr.startswith("error: ALL_PROXY socks5://127.0.0.1:1: a SOCKS proxy needs a package")
    assert CliRunner().invoke(app, ["config", "check", str(TINY), "--offline"]).exit_code == 0
