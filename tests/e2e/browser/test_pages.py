"""`rlhf ui` on a real climb: both pages answer, show it in a real browser, and are gone after an interrupt."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow

RLHF = Path(sys.executable).with_name("rlhf")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=20000",
    "--dump-dom",
)


class Pages(NamedTuple):
    """A running `rlhf ui` and the addresses that it printed."""

    process: subprocess.Popen[str]
    mlflow: str
    prefect: str


@pytest.fixture(scope="module")
def pages(climbed: subprocess.CompletedProcess[str], home: Path) -> Iterator[Pages]:
    """Both pages on the shared climb, on ports that nobody else has."""
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    environment |= {"PREFECT_HOME": str(home / "prefect"), "PREFECT_LOCAL_STORAGE_PATH": str(home / "results")}
    process = subprocess.Popen(
        [RLHF, "ui", "configs/tiny.yaml", "--set", f"storage={home}", "--prefect-port", "4271"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        printed = "".join(process.stdout.readline() for _ in range(3))  # type: ignore[union-attr]
        addresses = dict(re.findall(r"^(MLflow|Prefect)\s+(http\S+)$", printed, flags=re.MULTILINE))
        assert addresses.keys() == {"MLflow", "Prefect"}, printed
        yield Pages(process, addresses["MLflow"], addresses["Prefect"])
    finally:
        process.kill()
        process.wait()


def ask(address: str, body: dict[str, object]) -> dict[str, object] | list[dict[str, object]]:
    request = urllib.request.Request(
        address, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)  # type: ignore[no-any-return]


def dom(address: str, profile: Path) -> str:
    """What a browser shows after the page's scripts ran."""
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", address]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def test_the_mlflow_page_has_the_models_of_the_climb(pages: Pages) -> None:
    with urllib.request.urlopen(f"{pages.mlflow}/api/2.0/mlflow/registered-models/search", timeout=30) as answer:
        names = {model["name"] for model in json.load(answer)["registered_models"]}
    assert {"tiny-sft", "tiny-reward-model", "tiny-policy", "tiny-value"} <= names


def test_the_prefect_page_has_the_flows_of_the_climb(pages: Pages) -> None:
    flows = ask(f"{pages.prefect}/api/flows/filter", {})
    assert {"rlhf-ladder", "ingest", "sft", "reward-model", "policy"} <= {flow["name"] for flow in flows}  # type: ignore[index]


def test_the_prefect_page_calls_its_own_server(pages: Pages) -> None:
    with urllib.request.urlopen(f"{pages.prefect}/ui-settings", timeout=30) as answer:
        assert json.load(answer)["api_url"] == f"{pages.prefect}/api"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_shows_the_models(pages: Pages, tmp_path: Path) -> None:
    assert "tiny-policy" in dom(f"{pages.mlflow}/#/models", tmp_path)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_shows_the_flow_runs(pages: Pages, tmp_path: Path) -> None:
    assert "ladder" in dom(f"{pages.prefect}/flows", tmp_path)


def test_an_interrupt_ends_both_servers(pages: Pages) -> None:
    pages.process.send_signal(signal.SIGINT)
    assert pages.process.wait(60) == 0
    for address in (pages.mlflow, pages.prefect):
        with pytest.raises(OSError, match="refused"):
            urllib.request.urlopen(address, timeout=5)
