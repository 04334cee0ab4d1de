"""The page that a real climb keeps: its numbers are those of the run, and `rlhf report` makes it again."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from flows.cli import app
from flows.config.errors import InputError
from flows.pipeline.climb_page.climb import find_climb
from flows.pipeline.climb_page.page import publish_page
from flows.registry.client import Registry
from flows.registry.runs import ESTIMATES
from tests.conftest import TINY, Finished

STAGES = ("sft", "reward-model", "policy")


@pytest.fixture
def client(climbed: Finished, home: Path, client_of: Callable[[Path], MlflowClient]) -> MlflowClient:
    return client_of(home)


@pytest.fixture
def run_id(client: MlflowClient) -> str:
    return find_climb(client, None, "tiny")


@pytest.fixture
def kept(client: MlflowClient, run_id: str, tmp_path: Path) -> str:
    return Path(client.download_artifacts(run_id, "report.html", str(tmp_path))).read_text(encoding="utf-8")


def document(client: MlflowClient, run_id: str, path: str, folder: Path) -> Any:
    return json.loads(Path(client.download_artifacts(run_id, path, str(folder))).read_text())


def stored(text: str) -> Any:
    found = re.search(r'<script id="stored" type="application/json">(.*?)</script>', text, flags=re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_its_numbers_are_those_of_the_runs(client: MlflowClient, run_id: str, kept: str, tmp_path: Path) -> None:
    said = stored(kept)
    assert said["run_id"] == run_id
    for stage in STAGES:
        made = str(client.get_model_version(f"tiny-{stage}", "1").run_id)
        assert said["figures"][stage] == document(client, made, ESTIMATES, tmp_path)
        assert said["verdicts"][stage] == document(client, run_id, f"gates/{stage}.json", tmp_path)["verdicts"]
    assert len(said["answers"]) == said["figures"]["policy"]["judge_win_rate"]["n"]
    gains = [row["judge_gain"] for row in said["answers"]]
    assert sum(gains) / len(gains) == pytest.approx(said["figures"]["policy"]["judge_reward_gain"]["value"])


def test_a_version_beside_itself_on_its_page_is_neither_better_nor_worse(
    run_id: str, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'mlflow.db'}")
    page = tmp_path / "page.html"
    command = ["compare", "tiny-policy/1", "tiny-policy@challenger", "--html", str(page)]
    done = CliRunner().invoke(app, [*command, "--config", str(TINY), "--set", f"storage={home}"])
    assert done.exit_code == 0, done.output
    text = page.read_text(encoding="utf-8")
    assert "Nothing shows tiny-policy/1 better or worse than tiny-policy/1: judge win rate 0.5" in text
    assert "Is it better than tiny-policy/1?" in text
    gains = [row["beside"] for row in stored(text)["answers"]]
    assert gains.count(0.0) > len(gains) / 2  # a few are of texts whose tokens were others when they were sampled
    named = CliRunner().invoke(app, ["compare", "tiny-policy/1", "tiny-sft/1", "--config", str(TINY)])
    assert named.exit_code == 2 and "name two versions of one model" in named.output


def test_it_asks_nobody_for_anything(kept: str) -> None:
    assert not re.search(r"(?:\bsrc\s*=|@import|url\((?!#)|<link\b|fetch\(|XMLHttp)", kept)
    assert kept.count("<svg") >= 10 and "Where does it come from?" in kept


def test_versions_and_summary_lead_to_it(client: MlflowClient, climbed: Finished, run_id: str) -> None:
    description = client.get_model_version("tiny-policy", "1").description
    assert f"runs/{run_id}/artifacts/report.html)" in description
    assert f"rlhf report --config {TINY}" in climbed.stdout


def test_the_command_makes_it_again_from_what_is_stored(
    run_id: str, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kept: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{home / 'mlflow.db'}")
    done = CliRunner().invoke(app, ["report", "--config", str(TINY), "--html", str(tmp_path / "again.html")])
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path / 'again.html'}: climb {run_id}\n"), done.output
    assert stored((tmp_path / "again.html").read_text()) == stored(kept)


def test_a_climb_is_found_by_its_run_a_stage_and_a_version(client: MlflowClient, run_id: str) -> None:
    stage = str(client.get_model_version("tiny-sft", "1").run_id)
    assert {find_climb(client, name, None) for name in (None, run_id, stage, "tiny-policy/1")} == {run_id}


@pytest.mark.parametrize(
    ("named", "project", "words"),
    [("0" * 32, None, "is no run and no version"), (None, "nobody", "project nobody has no climb yet")],
)
def test_what_is_not_there_is_said(client: MlflowClient, named: str | None, project: str | None, words: str) -> None:
    with pytest.raises(InputError, match=words):
        find_climb(client, named, project)


def test_a_page_that_cannot_be_made_ends_no_climb(desk: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = desk.start_run("ladder")
    publish_page(desk, run_id, "0" * 32)
    said = capsys.readouterr().out
    assert said.startswith("warning: no page was kept of this climb, ") and "try `rlhf report 0000" in said
    assert desk.client.get_run(run_id).data.tags["rlhf.repeats"] == "0" * 32
