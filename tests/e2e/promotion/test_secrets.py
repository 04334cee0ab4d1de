"""Secrets of the environment, planted before a real climb, a deployment and a receiver: nothing written holds one."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, TINY

pytestmark = pytest.mark.slow

WORDS = {
    "tracking": "planted-Tracking-7f3a",
    "prefect": "planted-Prefect-91bc",
    "hub": "hf_plantedHub5d20",
    "cloud": "pnu_plantedCloud44e1",
    "store": "planted-Store-c8a9",
    "webhooks": "planted-Webhooks-02de",
    "proxy": "planted-Proxy-6b17",
    "hook": "planted-Hook-f0e5",
}


def planted(mlflow: str, prefect: str) -> dict[str, str]:
    """An environment whose every door has a key in it."""
    return {
        "MLFLOW_TRACKING_URI": mlflow.replace("://", f"://me:{WORDS['tracking']}@"),
        "PREFECT_API_URL": prefect.replace("://", f"://me:{WORDS['prefect']}@") + "/api",
        "PREFECT_API_KEY": WORDS["cloud"],
        "HF_TOKEN": WORDS["hub"],
        "AWS_SECRET_ACCESS_KEY": WORDS["store"],
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": WORDS["webhooks"],
        "HTTPS_PROXY": f"http://me:{WORDS['proxy']}@127.0.0.1:9",
    }


class Processes(threading.Thread):
    """The command lines of all processes, looked at again and again; Linux tells, elsewhere there are none."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[bytes] = set()
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.05):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(path.read_bytes())
                except OSError:
                    continue  # it has ended


@pytest.fixture
def processes_seen() -> Iterator[Processes]:
    watching = Processes()
    watching.start()
    yield watching
    watching.over.set()
    watching.join()


@pytest.fixture
def type_rlhf(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Type a command of `rlhf` with an environment, and keep what it says among what is searched."""
    said = tmp_path / "said"
    said.mkdir()

    def command(environment: dict[str, str], *arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        main = [sys.executable, "-c", "from flows.cli import main; main()", *arguments]
        done = subprocess.run(main, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == code, done.stdout + done.stderr
        (said / f"{len(list(said.iterdir()))}.txt").write_text(done.stdout + done.stderr)
        return done

    return command


def holding(folder: Path, words: list[str]) -> dict[str, list[str]]:
    """Files below a folder, databases among them, that hold a word."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        content = path.read_bytes()
        if held := [word for word in words if word.encode() in content]:
            found[str(path.relative_to(folder))] = held
    return found


def test_the_search_finds_what_is_planted(tmp_path: Path, processes_seen: Processes) -> None:
    (tmp_path / "database").write_bytes(b"\0\0" + WORDS["hub"].encode())
    assert holding(tmp_path, list(WORDS.values())) == {"database": [WORDS["hub"]]}
    subprocess.run([sys.executable, "-c", "import time; time.sleep(1)", WORDS["hook"]], check=True)
    assert any(WORDS["hook"].encode() in command for command in processes_seen.seen)


def test_no_secret_is_in_anything_that_a_climb_a_deployment_and_a_receiver_wrote(
    servers: Any, processes: Any, wait_for: Any, tmp_path: Path, processes_seen: Processes, type_rlhf: Any
) -> None:
    environment, storage = planted(servers.mlflow, servers.prefect), tmp_path / "storage"
    config = tmp_path / "tiny.yaml"
    config.write_text(
        f"{TINY.read_text()}\ndeploy: {{alerts: {{webhook: 'https://hooks.example.org/{WORDS['hook']}'}}}}\n"
    )
    given = ("--set", f"storage={storage}", "--set", "project=secrets")
    type_rlhf(environment, "run", config, *given)
    type_rlhf(environment, "deploy", config, *given)
    type_rlhf(environment, "lineage", "secrets-policy/1", "--html", tmp_path / "lineage.html")
    assert WORDS["hook"] not in type_rlhf(environment, "config", "show", config, *given).stdout

    port = str(servers.port())
    command = [sys.executable, "-c", "from flows.cli import main; main()", "receive", "--port", port, "--every", "0.5"]
    with processes([*command, "--folder", str(tmp_path / "receiver")], environment, tmp_path / "receiver.log"):
        health = f"http://127.0.0.1:{port}/health"
        wait_for(lambda: servers.ask(health)["looked"], f"look of the receiver; see {tmp_path / 'receiver.log'}")
        registry = servers.registry
        registry.set_registered_model_alias("secrets-policy", "champion", "1")
        registry.set_registered_model_alias("secrets-reward-model", "champion", "1")
        promotions = ("secrets-policy/1", "secrets-reward-model/1")
        wait_for(lambda: all(each in (tmp_path / "receiver.log").read_text() for each in promotions), "promotions")
        (tmp_path / "health.json").write_text(str(servers.ask(health)))

    nowhere = planted("http://127.0.0.1:9", servers.prefect)
    assert "http://127.0.0.1:9 " in type_rlhf(nowhere, "run", config, *given, code=2).stderr
    no_prefect = planted(servers.mlflow, "http://127.0.0.1:9")
    assert "PREFECT_API_URL http://127.0.0.1:9" in type_rlhf(no_prefect, "run", config, *given, code=2).stderr
    database = environment | {"MLFLOW_TRACKING_URI": f"postgresql://me:{WORDS['tracking']}@127.0.0.1:9/x"}
    assert "postgresql://127.0.0.1:9/x (" in type_rlhf(database, "run", config, *given, code=2).stderr

    config.unlink()  # where the address of the webhook is from
    words = [*WORDS.values(), (tmp_path / "receiver" / "webhook.secret").read_text()]
    (tmp_path / "receiver" / "webhook.secret").unlink()
    assert len(list((servers.folder / "artifacts").rglob("*"))) > 100  # there is something to search
    assert holding(tmp_path, words) == {} and holding(servers.folder, words) == {}
    assert [command for command in processes_seen.seen for word in words if word.encode() in command] == []
