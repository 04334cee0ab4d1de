"""A person clicks `champion` in the MLflow UI, and the policy run starts with that version.

Where `RLHF_FIGURES` names a folder, the pages of docs/guide/promotion.md are taken into it.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.browser]

playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]
FIGURES = os.environ.get("RLHF_FIGURES")
PATIENCE_MS = 120_000


@pytest.fixture
def page() -> Iterator[Any]:
    """An empty page of a real browser."""
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 720})
        page.set_default_timeout(PATIENCE_MS)
        yield page
        browser.close()


def take(page: Any, name: str) -> None:
    """Keep a figure for the documentation, where somebody asked for it."""
    if FIGURES is not None:
        page.wait_for_timeout(1500)  # fade-ins end
        page.screenshot(path=Path(FIGURES) / f"{name}.png")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_champion_set_in_the_page_of_a_version_starts_the_policy_with_it(
    project: Any, servers: Any, receiving: Callable[..., Any], page: Any, processes: Callable[..., Any], wait_for: Any
) -> None:
    model, registry = project.reward_model, servers.registry
    registry.set_registered_model_alias(model, "challenger", "2")  # the pipeline's
    registry.update_model_version(model, "2", "A reward model whose gates have passed.")
    worker = [sys.executable, "-m", "prefect", "worker", "start", "--pool", project.name, "--type", "process"]
    with receiving(), processes(worker, servers.environment, servers.folder / "worker.log"):
        page.goto(f"{servers.mlflow}/#/models/{model}/versions/2")
        page.get_by_title("Edit aliases").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("combobox").fill("champion")
        page.keyboard.press("Enter")
        take(page, "promote-dialog")
        dialog.get_by_role("button", name="Save aliases").click()
        page.get_by_text("champion").first.wait_for()
        dialog.wait_for(state="hidden")
        project.wait_for_starts("2")
        wait_for(lambda: project.runs()[0].state.is_final(), "end of the policy run")
        (run,) = project.runs()
        assert run.state.is_completed()
        page.goto(f"{servers.prefect}/runs/flow-run/{run.id}")
        page.get_by_text(f"policy of {project.name} with {model}/2").first.wait_for()
        take(page, "promote-run")
