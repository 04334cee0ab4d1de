"""The page of a climb in a real browser: filters, planted markup, both widths, day and night, no console error.

Where `RLHF_FIGURES` names a folder and `RLHF_REPORT` a page of a climb beside a champion, it takes pictures of it.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.climbs import PLANTED, answers, climb, good_climb, page, stage_run

playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]

WIDTHS = (1440, 390)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(params=WIDTHS)
def tab(request: pytest.FixtureRequest, browser: Any) -> Iterator[Any]:
    """A tab of a width, which must end without an error and without a request but for the page itself."""
    context = browser.new_context(viewport={"width": request.param, "height": 900}, color_scheme="dark")
    tab, errors, requests = context.new_page(), [], []
    tab.on("console", lambda message: errors.append(message.text))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("request", lambda asked: requests.append(asked.url))
    yield tab
    context.close()
    assert errors == [] and len(requests) == 1


def opened(tab: Any, folder: Path, text: str) -> Any:
    (folder / "report.html").write_text(text, encoding="utf-8")
    tab.goto((folder / "report.html").as_uri())
    return tab


def prompts(tab: Any) -> list[str]:
    return list(tab.locator(".side .asked").all_inner_texts())


def test_filters_show_gains_losses_disagreements_and_words(tab: Any, tmp_path: Path) -> None:
    opened(tab, tmp_path, page(good_climb()))
    assert prompts(tab) == ["bad"]  # what got worse is read first
    tab.select_option("[name=order]", "gain")
    assert prompts(tab) == ["good", PLANTED, "even", "bad"]
    tab.select_option("[name=order]", "disagree")
    assert prompts(tab) == ["bad", PLANTED] and tab.inner_text("#count") == "2 of 2"
    tab.select_option("[name=order]", "kept")
    tab.fill("[name=words]", "POLICY SAYS EVEN")
    assert prompts(tab) == ["even"]
    assert tab.locator(".side mark").all_inner_texts() == [" policy"]
    assert tab.locator(".side .scores .up, .side .scores .down").all_inner_texts() == ["+0.00", "+0.00"]


def test_answers_that_lost_to_the_champion_come_first_when_asked(tab: Any, tmp_path: Path) -> None:
    policy = {row["prompt"]: row["judge_score"] for row in answers().to_pylist() if row["answered_by"] == "policy"}
    champion = dict(zip(policy, (1.0, -3.0, 0.5, -1.0), strict=True))
    rows = [
        {"answered_by": "champion", "prompt": prompt, "response": "theirs", "judge_score": score + 10.0}
        for prompt, score in champion.items()
    ]
    opened(tab, tmp_path, page(good_climb()._replace(beside=pa.Table.from_pylist(rows))))
    tab.select_option("[name=order]", "beside_loss")
    assert prompts(tab) == sorted(policy, key=lambda prompt: policy[prompt] - champion[prompt])
    assert "the champion · judge" in tab.inner_text("#sides")


def test_groups_filter_and_more_are_shown_when_asked(tab: Any, tmp_path: Path) -> None:
    scores = {f"{'long ' * (9 * (index % 3))}prompt {index}": (0.0, float(index), 0.0) for index in range(21)}
    opened(
        tab, tmp_path, page(climb(stages={"policy": stage_run("policy", rows={"answers": answers(scores)})}, judged={}))
    )
    assert len(prompts(tab)) == 8 and tab.inner_text("#count") == "8 of 21"
    tab.click("#more")
    tab.click("#more")
    assert len(prompts(tab)) == 21 and not tab.is_visible("#more")
    tab.select_option("[name=slice]", "long prompts")
    assert tab.inner_text("#count") == "7 of 7"


def test_planted_markup_is_read_and_not_run(tab: Any, tmp_path: Path) -> None:
    opened(tab, tmp_path, page(good_climb()))
    tab.select_option("[name=order]", "gain")
    assert tab.title().startswith("desk-policy/1") and tab.locator("img").count() == 0
    assert PLANTED in tab.inner_text("#sides")


def test_nothing_is_wider_than_the_screen(tab: Any, tmp_path: Path) -> None:
    opened(tab, tmp_path, page(good_climb()))
    assert tab.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


@pytest.mark.skipif(not os.environ.get("RLHF_FIGURES"), reason="pictures are taken where RLHF_FIGURES names a folder")
def test_pictures_are_taken(browser: Any) -> None:
    address, folder = Path(os.environ["RLHF_REPORT"]).absolute().as_uri(), Path(os.environ["RLHF_FIGURES"])
    views = [("report", "header", 1440, "light"), ("report_answers", "#answers", 1440, "dark")]
    views += [("report_policy", "#policy", 1440, "light"), ("report_narrow", "header", 390, "light")]
    for name, place, width, scheme in views:
        tab = browser.new_page(viewport={"width": width, "height": 860}, color_scheme=scheme)
        tab.goto(address)
        if place == "#answers":
            tab.select_option("[name=order]", "beside_loss")
        tab.locator(place).evaluate("part => part.scrollIntoView({behavior: 'instant'})")
        tab.screenshot(path=folder / f"{name}.png")
        tab.close()
