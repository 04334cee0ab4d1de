"""Lineage, audit and retention on another machine: nothing but a real MLflow server that serves its artifacts."""

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from mlflow import MlflowClient

from flows.deploy.pages import free_port
from flows.lineage.archive import Archive
from flows.lineage.audit import audit
from flows.lineage.finding import DOUBTS
from flows.lineage.retention import Retention
from tests.flows.toys import Ladder, Toys
from tests.forked import run_rlhf

pytestmark = pytest.mark.slow


class Served(NamedTuple):
    """A server, where its artifacts lie, and ladders in it whose storage folder is gone."""

    address: str
    artifacts: Path
    old: Ladder
    live: Ladder
    key: Path


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("server")
    port = free_port(0)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = [
        "--backend-store-uri",
        f"sqlite:///{folder / 'mlflow.db'}",
        "--artifacts-destination",
        str(folder / "kept"),
    ]
    address = f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log, pytest.MonkeyPatch.context() as patch:
        server = subprocess.Popen([*command, *stores], stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            wait_until_ready(address)
            patch.setenv("MLFLOW_TRACKING_URI", address)
            toys = Toys("toy", folder / "storage")
            old, live = toys.ladder("old"), toys.ladder("live")
            toys.crown(live.policy)
            toys.registry.end_run(toys.context.run_id, "FINISHED")
            (folder / "storage" / "keys" / "pipeline.pub").rename(folder / "auditor.pub")
            shutil.rmtree(folder / "storage")
            yield Served(address, folder / "kept", old, live, folder / "auditor.pub")
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait(60)


@pytest.fixture(autouse=True)
def elsewhere(served: Served, storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a machine that knows the server and nothing else."""
    assert storage.is_dir()  # set first, and replaced here
    monkeypatch.setenv("MLFLOW_TRACKING_URI", served.address)
    monkeypatch.chdir(storage)


def wait_until_ready(address: str) -> None:
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5)
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise TimeoutError(address)


def typed(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run_rlhf(*arguments, environment=os.environ, cwd=Path.cwd())


def test_an_audit_needs_the_server_and_a_key_alone(served: Served) -> None:
    done = typed("audit", "toy-policy@champion", "--deep", "--key", str(served.key))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "31 holds, 0 missing, 0 altered, 0 differs, 0 unsigned" in done.stdout and done.stderr == ""
    assert list(Path.cwd().iterdir()) == []


def test_so_does_a_lineage_with_its_page() -> None:
    done = typed("lineage", "models:/toy-policy@champion", "--html", "page.html")
    assert done.returncode == 0, done.stderr
    assert f'href="{os.environ["MLFLOW_TRACKING_URI"]}/#/models/toy-policy/versions/2"' in Path("page.html").read_text()
    told = typed("lineage", "toy-policy/2")
    assert "1 of 3 records quarantined" in told.stdout and "reward-model: toy-reward-model/2" in told.stdout


@pytest.mark.parametrize("damage", ["altered", "deleted"])
@pytest.mark.parametrize("name", ["weights", "snapshot", "identity.json"])
def test_damage_in_the_artifact_store_is_named(served: Served, name: str, damage: str) -> None:
    wanted = f"{served.live.prompts.digest}.parquet" if name == "snapshot" else name
    (path,) = (path for path in served.artifacts.rglob(wanted) if name == "snapshot" or belongs(path, served.live))
    content = path.read_bytes()
    written = b"\x00live" if name == "snapshot" else b"live"  # of a row, and not of the statistics before it
    offset = content.index(written) + len(written) - 1
    try:
        path.unlink()
        if damage == "altered":
            path.write_bytes(content[:offset] + bytes([content[offset] ^ 1]) + content[offset + 1 :])
        done = typed("audit", "toy-policy@champion", "--deep", "--key", str(served.key))
    finally:
        path.write_bytes(content)
    named = {"weights": "toy-policy/2", "snapshot": wanted, "identity.json": "identity.json"}[name]
    lines = [line for line in done.stdout.splitlines() if " missing " in line or " altered " in line]
    (line,) = (line for line in lines if not line.startswith("run "))  # of whose files statements tell, too
    expected = "missing" if damage == "deleted" else "altered"
    assert done.returncode == 1 and expected in line and (damage == "altered" or named in line)


def belongs(path: Path, ladder: Ladder) -> bool:
    """Whether a file is of the policy of a ladder."""
    return ladder.policy.model_id in path.parts or ladder.policy.run_id in path.parts


def test_what_is_pruned_leaves_the_artifact_store_and_nothing_else_does(served: Served) -> None:
    retention = Retention(MlflowClient(), "toy", Path.cwd())
    found = retention.find(keep_days=0.0)
    assert {waste.kind: sum(other.kind == waste.kind for other in found) for waste in found} == {
        "version": 5, "snapshot": 3
    }  # fmt: skip
    for waste in found:
        retention.remove(waste)
    assert [path.read_text() for path in served.artifacts.rglob("weights")] == ["live"] * 5
    assert {path.stem for path in served.artifacts.rglob("*.parquet")} == {ref.digest for ref in served.live[5:]}
    archive = Archive(MlflowClient())
    assert not any(finding.status in DOUBTS for finding in audit(archive, archive.everything().versions.values()))
