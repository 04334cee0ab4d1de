"""Six reports for a reader who gets nothing else: what the key says, and how answers are held against it."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from benchmarks.quality.decisions.__main__ import app
from benchmarks.quality.decisions.cases import BASIS, CASES
from benchmarks.quality.decisions.climbs import page_without_truth
from flows.config.loading import load_config
from tests.climbs import WINS, good_climb, page

RUNNER = CliRunner()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """The key of two pages."""
    path = tmp_path / "key.json"
    right = {"1": {"right": "promote", "why": "it wins"}, "2": {"right": "do not promote", "why": "it is worse"}}
    path.write_text(json.dumps(right))
    return path


def test_three_are_to_be_promoted_three_are_not_and_all_can_be_climbed(tmp_path: Path) -> None:
    assert sorted(case.right for case in CASES) == ["do not promote"] * 3 + ["promote"] * 3
    (tmp_path / "ladder.yaml").write_text(yaml.safe_dump({**BASIS}))
    for case in CASES:
        assert load_config(tmp_path / "ladder.yaml", overrides=case.overrides).project == "helpdesk"


def test_a_report_does_not_tell_the_truth_that_only_the_embedded_world_knows() -> None:
    known = good_climb()._replace(outside={"policy_win_rate": WINS})
    assert "gold reward" in page(known) and "gold" not in page_without_truth(known)


def test_answers_are_held_against_the_key(key: Path) -> None:
    done = RUNNER.invoke(app, ["grade", "--key", str(key), "1=promote", "2=do not promote"])
    assert done.exit_code == 0 and "2 of 2 right" in done.output
    done = RUNNER.invoke(app, ["grade", "--key", str(key), "2=promote"])
    assert done.exit_code == 1 and "1: no answer, but promote: it wins" in done.output
    assert "2: promote, but do not promote: it is worse" in done.output and "0 of 2 right" in done.output
    assert RUNNER.invoke(app, ["grade", "--key", str(key), "1=perhaps"]).exit_code == 2


def test_the_key_does_not_lie_beside_the_pages(tmp_path: Path) -> None:
    done = RUNNER.invoke(app, ["make", str(tmp_path), "--key", str(tmp_path / "sub" / "key.json")])
    assert done.exit_code == 2 and "the key lies beside the pages" in done.output
