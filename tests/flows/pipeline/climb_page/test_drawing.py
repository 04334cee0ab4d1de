"""Pictures of a page where they cannot be drawn: the page is made without them, and nothing dies with them."""

import subprocess
import sys

import pytest

from flows.pipeline.climb_page import drawing
from flows.pipeline.climb_page.charts import shares
from flows.pipeline.climb_page.drawing import draw
from tests.climbs import climb, page, stage_run

UNDER_A_LIMIT = """
import resource, sys
from flows.pipeline.climb_page.drawing import draw
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
print(draw([sys.argv[1]]))
"""


def test_little_address_space_ends_the_drawing_and_not_who_asked_for_it() -> None:
    command = [sys.executable, "-c", UNDER_A_LIMIT, shares({"sampling": 1.0})]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stderr) == (0, "")
    said, drawn = done.stdout.splitlines()
    assert said.startswith("warning: 1 of 1 pictures of the page could not be drawn: drawing was ended by SIG")
    assert "`ulimit -v`" in said and drawn == "{}"


def test_a_page_says_which_pictures_it_lacks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(drawing, "SECONDS", 0.001)
    curves = {"kl_to_sft_nats": [(1, 0.0), (2, 1.0)], "rollout_seconds": [(1, 2.0), (2, 3.0)]}
    shown = page(climb(stages={"policy": stage_run("policy", curves=curves)}, judged={}))
    assert "warning: 2 of 2 pictures of the page could not be drawn: they took more than 0.001 s" in (
        capsys.readouterr().out
    )
    assert shown.count("<code>rlhf report 0123456789abcdef</code> makes the page again.") == 2
    assert "<svg" not in shown and "Wall time of all updates" in shown


def test_what_is_no_picture_is_said_and_those_before_it_stay(capsys: pytest.CaptureFixture[str]) -> None:
    good = shares({"sampling": 1.0})
    assert list(draw([good, good, "{"])) == [good]
    said = capsys.readouterr().out
    assert "1 of 2 pictures of the page could not be drawn: json.decoder.JSONDecodeError: " in said
