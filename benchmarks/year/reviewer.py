"""The scripted person: promotes what passed the gates, in the ways in which people do."""

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from mlflow import MlflowClient

from benchmarks.year.ground import Ground
from benchmarks.year.registry import challengers, label, look
from flows.registry.names import CHAMPION, PASSED

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync")
PATIENCE_MS = 120_000
BY_BROWSER_EVERY, BY_COMMAND_EVERY = 5, 4
"""Weeks from one that is reviewed in MLflow's page, or by `rlhf promote`, to the next."""


def review(ground: Ground, week: int, stages: tuple[str, ...]) -> dict[str, str]:
    """Make every challenger of some stages champion whose gates passed, those against the champion among them.

    Args:
        ground: whose registry it is.
        week: decides by which way.
        stages: in the order of the ladder.

    Returns:
        By version, the way in which it was promoted.
    """
    models, done = look(), dict[str, str]()
    waiting = challengers(models)
    for stage in stages:
        number = int(waiting.get(stage, "/0").rpartition("/")[2])
        if models[stage].status.get(number) == PASSED:
            way = _way(ground, week)
            WAYS[way](ground, label(stage, number))
            done[label(stage, number)] = way
    return done


def force(ground: Ground, version: str) -> bool:
    """Make a version champion against its gates; whether the command did it."""
    why = "the release is due"
    return ground.rlhf("promote", version, "--yes", "--force", "--why", why, *configured(ground)).code == 0


def roll_back(ground: Ground, name: str, why: str) -> bool:
    """Return to the previous champion; whether there was one."""
    return ground.rlhf("rollback", name, "--yes", "--why", why, *configured(ground)).code == 0


def policy_moves(ground: Ground) -> list[dict[str, Any]]:
    """What `rlhf history` tells of the policy, the newest move first.

    Raises:
        RuntimeError: saying what it says, if it does not.
    """
    said = ground.rlhf("history", "year-policy", "--json", *configured(ground))
    if said.code != 0:
        raise RuntimeError(f"rlhf history ended with {said.code}: {said.text}")
    moves: list[dict[str, Any]] = json.loads(said.text)
    return moves


def configured(ground: Ground) -> tuple[str, str]:
    """The option that names the configuration."""
    return "--config", str(ground.folder / "ladder.yaml")


def browser() -> str | None:
    """The browser of this machine, None where there is none or nothing to drive it."""
    with suppress(ImportError):
        import playwright.sync_api  # noqa: F401, PLC0415  only developers have it

        return next(filter(None, map(shutil.which, BROWSERS)), None)
    return None


def _way(ground: Ground, week: int) -> str:
    """In MLflow's page, by its API or by `rlhf promote`, in turn; without a receiver only this keeps a record."""
    if not ground.has_stack:
        return "rlhf promote"
    if week % BY_BROWSER_EVERY == 0 and browser():
        return "MLflow's page"
    return "rlhf promote" if week % BY_COMMAND_EVERY == 1 else "MLflow's API"


def _by_command(ground: Ground, version: str) -> None:
    said = ground.rlhf("promote", version, "--yes", *configured(ground))
    if said.code:
        raise RuntimeError(f"rlhf promote {version}: {said.text}")


def _by_api(_: Ground, version: str) -> None:
    name, _slash, number = version.partition("/")
    MlflowClient().set_registered_model_alias(name, CHAMPION, number)


def _in_page(_: Ground, version: str) -> None:
    """Click it, as tests/e2e/promotion/test_promote_in_browser.py does."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  only developers have it

    name, _slash, number = version.partition("/")
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=browser(), args=list(FLAGS))
        page: Any = started.new_page(viewport={"width": 1500, "height": 720})
        page.set_default_timeout(PATIENCE_MS)
        page.goto(f"{MlflowClient().tracking_uri}/#/models/{name}/versions/{number}")
        page.get_by_title("Edit aliases").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("combobox").fill(CHAMPION)
        page.keyboard.press("Enter")
        dialog.get_by_role("button", name="Save aliases").click()
        dialog.wait_for(state="hidden")
        started.close()


WAYS: Mapping[str, Callable[[Ground, str], None]] = {
    "rlhf promote": _by_command,
    "MLflow's API": _by_api,
    "MLflow's page": _in_page,
}
