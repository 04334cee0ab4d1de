"""The teaching pages count as rlhf_core does: both give the golden numbers, and other mathematics is noticed."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.golden.explained import GOLDEN, RECORDED, numbers

MATHEMATICS = ROOT / "flows" / "explain" / "pages" / "mathematics.js"
NODE = shutil.which("node")
MISTAKES = {
    "a gradient of the other sign": (
        "sigmoid(scores[loser] - scores[winner])",
        "-sigmoid(scores[loser] - scores[winner])",
    ),
    "a ceiling of the first of two": ("return Math.max(p, 1 - p)", "return p"),
    "a price that is not paid": ("state.reward - beta * state.kl", "state.reward"),
    "a budget by the value alone": ("point.kl_upper <= nats", "point.kl <= nats"),
    "a median beyond the band": ("calibratedSpread(accuracy), BAND[1])", "calibratedSpread(accuracy), 100)"),
    "intervals that are not stretched by their value": ("value + stretch * (quantile(sorted, q) - value)", "value"),
    "a gate by the other bound": ("figure.lower > gate.threshold", "figure.upper > gate.threshold"),
}


def assert_close(found: Any, wanted: Any, place: str = "golden") -> None:
    """Same shape, same words, and numbers that differ by no more than other versions of libraries may."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys(), place
        for name, value in wanted.items():
            assert_close(found[name], value, f"{place}.{name}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), place
        for index, value in enumerate(wanted):
            assert_close(found[index], value, f"{place}[{index}]")
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-9, abs=1e-6), place
    else:
        assert found == wanted, place


def check(mathematics: Path) -> subprocess.CompletedProcess[str]:
    program = Path(__file__).with_name("explain_check.js")
    command = [str(NODE), program, mathematics, RECORDED, GOLDEN]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_recipe_gives_the_golden_numbers() -> None:
    assert_close(json.loads(json.dumps(numbers())), json.loads(GOLDEN.read_text(encoding="utf-8")))


@pytest.mark.skipif(NODE is None, reason="no node on this machine")
def test_the_pages_give_the_golden_numbers() -> None:
    done = check(MATHEMATICS)
    assert done.returncode == 0 and done.stdout.endswith("numbers agree\n"), done.stdout + done.stderr


@pytest.mark.skipif(NODE is None, reason="no node on this machine")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_page_that_counts_otherwise_is_noticed(mistake: str, tmp_path: Path) -> None:
    right, wrong = MISTAKES[mistake]
    text = MATHEMATICS.read_text(encoding="utf-8")
    assert text.count(right) == 1
    mutant = tmp_path / "mathematics.js"
    mutant.write_text(text.replace(right, wrong), encoding="utf-8")
    done = check(mutant)
    assert done.returncode == 1 and ", not " in done.stdout, done.stdout + done.stderr
