"""The teaching pages in a real browser, by keyboard alone: what they say, at two widths, in light and dark.

Where `RLHF_FIGURES` names a folder, the pages are taken into it.
"""

import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.golden.explained import recorded

pytestmark = [pytest.mark.slow, pytest.mark.browser]

playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]
FIGURES = os.environ.get("RLHF_FIGURES")
PAGES = (ROOT / "docs" / "explain").resolve()
NAMES = ("index", "bradley_terry", "margins", "leash")

if CHROMIUM is None:
    pytest.skip("no Chromium on this machine", allow_module_level=True)

Opened = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Opened]:
    """Open a page of a name; at the end, nothing was complained of and nothing asked for elsewhere."""
    trouble: list[str] = []
    contexts = []

    def open_page(name: str, width: int = 1440, scheme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("console", lambda message: trouble.append(message.text))
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("request", lambda request: trouble.append(request.url) if not local(request.url) else None)
        page.goto((PAGES / f"{name}.html").as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert trouble == []


def local(address: str) -> bool:
    return address.startswith((PAGES.as_uri(), "data:"))


def focus(page: Any, element: str) -> None:
    """Go to an element by the Tab key, from the start of the page."""
    page.evaluate("document.activeElement.blur()")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == element:
            return
    raise AssertionError(f"no Tab leads to {element}")


def press(page: Any, element: str, *keys: str) -> None:
    focus(page, element)
    for key in keys:
        page.keyboard.press(key)


def said(page: Any, element: str = "said") -> str:
    text: str = page.text_content(f"#{element}")
    return text


def figure(page: Any, element: str) -> float:
    return float(re.sub(r"[^\d.]", "", said(page, element)))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
@pytest.mark.parametrize("name", NAMES)
def test_a_page_fits_its_width(opened: Opened, name: str, width: int, scheme: str) -> None:
    page = opened(name, width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for chart in page.query_selector_all("svg"):
        assert len(chart.get_attribute("aria-label")) > 40
        assert chart.bounding_box()["x"] + chart.bounding_box()["width"] <= width
    if FIGURES is not None and (width, scheme) in {(1440, "light"), (390, "dark")} and name != "index":
        take(page, f"explain_{name}{'' if width == 1440 else '_narrow'}")


def take(page: Any, name: str) -> None:
    """Keep a figure for the documentation, in few colours."""
    for _ in range(8 if page.query_selector("#hundred") else 0):
        page.click("#hundred")
    taken = (
        Image.open(io.BytesIO(page.screenshot(full_page=True)))
        .convert("RGB")
        .quantize(128, method=Image.Quantize.MAXCOVERAGE)
    )
    taken.save(Path(str(FIGURES)) / f"{name}.png", optimize=True)


def test_scores_converge_and_agreement_reaches_its_ceiling(opened: Opened) -> None:
    page = opened("bradley_terry")
    assert said(page, "agreement") == "50.0 %" and "ln 2 = 0.693" in said(page)
    press(page, "hundred", *["Enter"] * 15)
    assert said(page, "rounds") == "1500" and said(page).startswith("Round 1500: ")
    assert said(page, "ceiling") == "78.5 %"  # by hand: the mean of sigma(.8), (1.1), (2.9), (.3), (2.1) and (1.8)
    assert 75 < figure(page, "agreement") <= 78.5
    assert 0 <= figure(page, "loss") - figure(page, "least") < 0.02


def test_a_run_is_repeated_by_its_seed(opened: Opened) -> None:
    page = opened("bradley_terry")
    told = []
    for keys in (["1"], ["2"], ["1"]):
        press(page, "seed", "Control+A", *keys, "Enter")
        press(page, "step", *["Space"] * 7)
        told.append((said(page), said(page, "loss"), page.get_attribute("#scores svg", "aria-label")))
    assert told[0] == told[2] != told[1]
    press(page, "reset", "Enter")
    assert said(page, "rounds") == "0"


def test_it_runs_and_pauses(opened: Opened) -> None:
    page = opened("bradley_terry")
    press(page, "run", "Enter")
    page.wait_for_function("Number(document.getElementById('rounds').textContent) >= 30")
    assert page.get_attribute("#run", "aria-pressed") == "true"
    page.keyboard.press("Enter")
    rounds = said(page, "rounds")
    page.wait_for_timeout(200)
    assert said(page, "rounds") == rounds and page.get_attribute("#run", "aria-pressed") == "false"


def test_an_offset_changes_nothing_and_noise_lowers_the_ceiling(opened: Opened) -> None:
    page = opened("bradley_terry")
    press(page, "hundred", "Enter")
    before = (said(page, "loss"), said(page, "agreement"))
    press(page, "shift", "Enter", "Enter")
    assert (said(page, "loss"), said(page, "agreement")) == before
    press(page, "careless", "End")
    assert said(page, "ceiling") == "50.0 %"


def verdicts(page: Any) -> dict[str, str]:
    rows = page.query_selector_all("#gates tr")
    return {row.get_attribute("data-gate"): row.get_attribute("data-verdict") for row in rows}


def test_the_dial_turns_the_verdicts(opened: Opened) -> None:
    page = opened("margins")
    passing = dict.fromkeys((gate["name"] for gate in recorded()["gates"]), "pass")
    assert verdicts(page) == passing and said(page).startswith("Calibrated")
    assert "4,920 pairs of 822 prompts" in said(page, "source")
    press(page, "dial", *["ArrowLeft"] * 35)
    page.wait_for_function("document.querySelector('#said').textContent.startsWith('Undertrained')")
    assert verdicts(page) == passing | {"delta-in-band": "fail", "delta-not-small": "fail"}
    page.keyboard.press("End")
    page.wait_for_function("document.querySelector('#said').textContent.includes('8.00')")
    too_sure = {"delta-in-band": "fail", "delta-not-large": "fail", "not-overconfident": "fail"}
    assert verdicts(page) == passing | too_sure and said(page).startswith("Overconfident")
    assert said(page, "agreement") == "74.1 %"


def stops(page: Any) -> list[list[str]]:
    return [
        [cell.text_content() for cell in row.query_selector_all("td")] for row in page.query_selector_all("#stops tr")
    ]


def test_the_leashes_choose_the_state(opened: Opened) -> None:
    page = opened("leash")
    run = next(run for run in recorded()["runs"] if (run["annotators"], run["seed"]) == ("biased", 24))
    press(page, "beta", "Home")
    press(page, "budget", "End")
    priced, budgeted, *_, end, best = stops(page)
    assert priced[1:3] == ["β = 0.00", "32"]  # nothing is paid: where the proxy is largest
    assert budgeted[1:3] == ["a KL budget of 30.0 nats (never)", "32"] and end[1:3] == ["nothing", "32"]
    gold = {int(point["step"]): point["gold"] for point in run["curve"]}
    assert int(best[2]) == max(gold, key=lambda step: gold[step])
    assert best[-1] == f"+{gold[int(best[2])] - gold[0]:.2f}"
    press(page, "beta", "End")
    press(page, "budget", "Home")
    priced, budgeted = stops(page)[:2]
    assert int(priced[2]) <= 4 and budgeted[2] == "2"


def test_every_run_can_be_looked_at(opened: Opened) -> None:
    page = opened("leash")
    seen = set()
    for annotators in ("Home", "End"):
        press(page, "annotators", annotators)
        press(page, "seed", "Home")
        for _ in range(5):
            seen.add(page.get_attribute("#gains svg", "aria-label"))
            page.keyboard.press("ArrowDown")
    assert len(seen) == len(recorded()["runs"])
