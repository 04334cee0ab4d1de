"""With authentication on, who has no password can neither read nor promote; through TLS people get what they need."""

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.e2e.stack.conftest import MLFLOW, PREFECT, ROOT, Stack, free_ports

pytestmark = pytest.mark.slow

MODEL = "access-reward-model"
ALIAS = {"name": MODEL, "alias": "champion", "version": "1"}
MLFLOW_READS = [
    ("GET", f"/api/2.0/mlflow/registered-models/get?name={MODEL}", None),
    ("GET", f"/api/2.0/mlflow/registered-models/alias?name={MODEL}&alias=champion", None),
    ("GET", "/api/2.0/mlflow/registered-models/search", None),
    ("POST", "/api/2.0/mlflow/experiments/search", {"max_results": 10}),
    ("POST", "/api/2.0/mlflow/runs/search", {"experiment_ids": ["0"]}),
    ("GET", "/api/2.0/mlflow-artifacts/artifacts", None),
    ("GET", f"/model-versions/get-artifact?path=x&name={MODEL}&version=1", None),
    ("POST", "/graphql", {"query": "{ __typename }"}),
    ("GET", "/api/2.0/mlflow/webhooks", None),
    ("GET", "/api/2.0/mlflow/users/get?username=admin", None),
]
MLFLOW_WRITES = [
    ("POST", "/api/2.0/mlflow/registered-models/alias", ALIAS),
    ("POST", "/ajax-api/2.0/mlflow/registered-models/alias", ALIAS),
    ("DELETE", "/api/2.0/mlflow/registered-models/delete", {"name": MODEL}),
    ("POST", "/api/2.0/mlflow/model-versions/set-tag", {"name": MODEL, "version": "1", "key": "gate", "value": "pass"}),
    ("POST", "/api/2.0/mlflow/webhooks", {"name": "x", "url": "https://example.org", "events": []}),
    ("POST", "/api/2.0/mlflow/users/create", {"username": "mallory", "password": "a long password"}),
    ("PUT", "/api/2.0/mlflow-artifacts/artifacts/x", {}),
]
PREFECT_CALLS = [
    ("POST", "/flow_runs/filter", {}),
    ("POST", "/deployments/filter", {}),
    ("GET", "/work_pools/rlhf", None),
    ("GET", "/admin/settings", None),
    ("POST", "/work_pools/", {"name": "theirs", "type": "process"}),
    ("POST", "/events", []),
    ("POST", "/automations/", {}),
]


@pytest.fixture(scope="module")
def admin(stack: Stack) -> tuple[str, str]:
    """Name and password, as the stack tells them to its clients."""
    return stack.clients["MLFLOW_TRACKING_USERNAME"], stack.clients["MLFLOW_TRACKING_PASSWORD"]


@pytest.fixture(scope="module")
def promoted(stack: Stack, admin: tuple[str, str]) -> dict[str, str]:
    """Aliases of a registered model as it is before anybody tries anything."""
    with httpx.Client(base_url=f"{stack.clients['MLFLOW_TRACKING_URI']}/api/2.0/mlflow", auth=admin) as mlflow:
        run = mlflow.post("/runs/create", json={"experiment_id": "0"}).raise_for_status().json()["run"]["info"]
        version = {"name": MODEL, "source": f"{run['artifact_uri']}/model", "run_id": run["run_id"]}
        mlflow.post("/registered-models/create", json={"name": MODEL}).raise_for_status()
        mlflow.post("/model-versions/create", json=version).raise_for_status()
        mlflow.post("/registered-models/alias", json={**ALIAS, "alias": "challenger"}).raise_for_status()
    return aliases(stack, admin)


def aliases(stack: Stack, admin: tuple[str, str]) -> dict[str, str]:
    url = f"{stack.clients['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/registered-models/get?name={MODEL}"
    found = httpx.get(url, auth=admin).raise_for_status().json()["registered_model"]
    return {each["alias"]: each["version"] for each in found.get("aliases", [])}


@pytest.fixture(params=[None, ("admin", "password"), ("", "")], ids=["anonymous", "guessed", "empty"])
def stranger(request: pytest.FixtureRequest) -> tuple[str, str] | None:
    """What somebody without the password has."""
    return request.param  # type: ignore[no-any-return]


def test_a_stranger_can_neither_read_nor_promote(
    stack: Stack, admin: tuple[str, str], promoted: dict[str, str], stranger: tuple[str, str] | None
) -> None:
    for method, path, body in (*MLFLOW_READS, *MLFLOW_WRITES):
        with httpx.Client(base_url=stack.clients["MLFLOW_TRACKING_URI"], auth=stranger) as mlflow:
            answer = mlflow.request(method, path, json=body)
        assert answer.status_code == 401, f"{method} {path}"
        assert MODEL not in answer.text
    assert aliases(stack, admin) == promoted == {"challenger": "1"}


def test_a_stranger_can_start_nothing(stack: Stack, stranger: tuple[str, str] | None) -> None:
    for method, path, body in PREFECT_CALLS:
        answer = httpx.request(method, stack.clients["PREFECT_API_URL"] + path, json=body, auth=stranger)
        assert answer.status_code == 401, f"{method} {path}"


@pytest.mark.parametrize("path", ["/events/in", "/events/out", "/logs/out"])
def test_a_stranger_neither_hears_nor_emits_an_event(stack: Stack, path: str) -> None:
    url = stack.clients["PREFECT_API_URL"].replace("http", "ws", 1) + path
    with connect(url, subprotocols=["prefect"]) as events:
        events.send(json.dumps({"type": "auth", "token": "admin:guessed"}))
        with pytest.raises(ConnectionClosed, match="Invalid token"):
            events.recv(timeout=20)


def test_health_can_be_asked_without_a_password(stack: Stack) -> None:
    assert httpx.get(f"{stack.clients['MLFLOW_TRACKING_URI']}/health").text == "OK"
    assert httpx.get(f"{stack.clients['PREFECT_API_URL']}/health").json() is True


@pytest.fixture(scope="module")
def tls(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int, Path]]:
    """Ports for TLS and for plain HTTP of an nginx with infra/nginx.conf in front of the stack, and its certificate."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None or shutil.which("openssl") is None:
        pytest.skip("nginx or openssl is not installed; .ci/run installs them where it may")
    folder = tmp_path_factory.mktemp("nginx")
    secure, plain = free_ports(2)
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    names = f"subjectAltName=DNS:{MLFLOW},DNS:{PREFECT}"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={MLFLOW}"]
    subprocess.run([*command, "-addext", names, "-out", certificate, "-keyout", key], check=True, capture_output=True)
    site = (ROOT / "infra" / "nginx.conf").read_text()
    ours = {
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "listen 443 ssl;": f"listen 127.0.0.1:{secure} ssl;",
        "127.0.0.1:5000": f"127.0.0.1:{stack.settings['MLFLOW_PORT']}",
        "127.0.0.1:4200": f"127.0.0.1:{stack.settings['PREFECT_PORT']}",
        "/etc/ssl/rlhf/certificate.pem": str(certificate),
        "/etc/ssl/rlhf/key.pem": str(key),
    }
    assert all(old in site for old in ours)
    # All in one pass: a free port may well begin with the 4200 of another line.
    site = re.sub("|".join(map(re.escape, ours)), lambda found: ours[found[0]], site)
    whole = f"pid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\nhttp {{\naccess_log off;\n{site}\n}}\n"
    (folder / "nginx.conf").write_text(whole)
    arguments = [nginx, "-p", folder, "-e", folder / "error.log", "-c", folder / "nginx.conf", "-g", "daemon off;"]
    server = subprocess.Popen(arguments)
    try:
        wait_for_port(secure)
        yield secure, plain, certificate
    finally:
        server.terminate()
        server.wait(20)


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"nothing listens on port {port}")


def ask(tls: tuple[int, int, Path], host: str, method: str, path: str, **more: Any) -> httpx.Response:
    """Send a request to a name that resolves nowhere, checking the certificate for that name."""
    secure, _, certificate = tls
    headers = {"Host": host, **more.pop("headers", {})}
    with httpx.Client(verify=ssl.create_default_context(cafile=str(certificate))) as client:
        url = f"https://127.0.0.1:{secure}{path}"
        return client.request(method, url, headers=headers, extensions={"sni_hostname": host}, **more)


def test_both_pages_come_through_tls_to_who_has_the_password(
    stack: Stack, tls: tuple[int, int, Path], admin: tuple[str, str]
) -> None:
    path = "/ajax-api/2.0/mlflow/registered-models/search"
    assert ask(tls, MLFLOW, "GET", path).status_code == 401
    assert ask(tls, MLFLOW, "GET", path, auth=admin).status_code == 200
    assert "max-age" in ask(tls, MLFLOW, "GET", "/", auth=admin).headers["Strict-Transport-Security"]
    name, _, password = stack.clients["PREFECT_API_AUTH_STRING"].partition(":")
    assert ask(tls, PREFECT, "POST", "/api/flows/filter", json={}).status_code == 401
    assert ask(tls, PREFECT, "POST", "/api/flows/filter", json={}, auth=(name, password)).status_code == 200
    assert ask(tls, PREFECT, "GET", "/ui-settings").json()["api_url"] == f"https://{PREFECT}/api"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_plain_http_is_sent_to_tls_and_old_tls_refused(tls: tuple[int, int, Path]) -> None:
    secure, plain, certificate = tls
    answer = httpx.get(f"http://127.0.0.1:{plain}/x", headers={"Host": MLFLOW})
    assert (answer.status_code, answer.headers["Location"]) == (301, f"https://{MLFLOW}/x")
    old = ssl.create_default_context(cafile=str(certificate))
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("127.0.0.1", secure)) as raw, pytest.raises(ssl.SSLError):
        old.wrap_socket(raw, server_hostname=MLFLOW)


def test_another_page_cannot_use_the_browser_of_who_is_logged_in(
    stack: Stack, tls: tuple[int, int, Path], admin: tuple[str, str], promoted: dict[str, str]
) -> None:
    path = "/ajax-api/2.0/mlflow/registered-models/alias"
    body = {**ALIAS, "alias": "champion"}
    foreign = ask(tls, MLFLOW, "POST", path, auth=admin, json=body, headers={"Origin": "https://evil.example"})
    assert foreign.status_code == 403 and aliases(stack, admin) == promoted
    own = ask(tls, MLFLOW, "POST", path, auth=admin, json=body, headers={"Origin": f"https://{MLFLOW}"})
    assert own.status_code == 200 and aliases(stack, admin)["champion"] == "1"


def test_events_come_through_tls_as_a_websocket(stack: Stack, tls: tuple[int, int, Path]) -> None:
    secure, _, certificate = tls
    with (
        socket.create_connection(("127.0.0.1", secure)) as raw,
        connect(
            f"wss://{PREFECT}/api/events/out",
            sock=raw,
            ssl=ssl.create_default_context(cafile=str(certificate)),
            subprotocols=["prefect"],
            open_timeout=60,
        ) as events,
    ):
        events.send(json.dumps({"type": "auth", "token": stack.clients["PREFECT_API_AUTH_STRING"]}))
        assert json.loads(events.recv(timeout=20))["type"] == "auth_success"
