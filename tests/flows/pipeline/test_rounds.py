"""The ladder in rounds, by the real entry point: what is trained, measured, remembered and told of each."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from rich.console import Console, RenderableType

from data_contracts.records import CONTRACT_VERSION
from flows.lineage import impact
from flows.lineage.archive import Archive
from flows.lineage.audit import audit
from flows.lineage.finding import DOUBTS
from flows.lineage.page import Servers, as_html
from flows.lineage.story import as_json, render, tell
from tests.conftest import TINY

pytestmark = pytest.mark.slow

Climb = Callable[..., CompletedProcess[str]]
Client = Callable[[Path], MlflowClient]
Runs = Callable[[Path, str], list[Run]]

PEOPLE = "relabel={by: people, prompts: 60, held_out_prompts: 20}"
FIGURES = ("agreement_on_policy", "last_agreement_on_policy", "agreement_on_policy_gain", "judge_agreement_on_policy")


@pytest.fixture(scope="session")
def iterate(rlhf: Climb) -> Climb:
    """Climb in two rounds."""

    def run(storage: Path, *overrides: str) -> CompletedProcess[str]:
        settings = [part for override in (f"storage={storage}", *overrides) for part in ("--set", override)]
        return rlhf("run", TINY, "--iterate", "2", *settings)

    return run


@pytest.fixture(scope="module")
def iterated(
    iterate: Climb, climbed: CompletedProcess[str], home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A copy of the shared climb that went on with a second round."""
    copied = Path(shutil.copytree(home, tmp_path_factory.mktemp("rounds") / "storage"))
    done = iterate(copied)
    assert done.returncode == 0, done.stderr + done.stdout
    assert started(done) == ["reward-model", "policy"]
    (copied / "said.txt").write_text(done.stdout)
    return copied


def shown(view: RenderableType) -> str:
    console = Console(width=1000, file=io.StringIO(), record=True)
    console.print(view)
    return console.export_text()


def started(done: CompletedProcess[str]) -> list[str]:
    return [line.partition(":")[0] for line in done.stderr.splitlines() if line.endswith(": started")]


def tags(client: MlflowClient, name: str, version: str) -> dict[str, str]:
    return dict(client.get_model_version(name, version).tags)


def alias(client: MlflowClient, name: str) -> str:
    return str(client.get_registered_model(name).aliases["challenger"])


def test_the_second_round_learns_from_labelled_answers_of_the_first_policy(iterated: Path, client_of: Client) -> None:
    client = client_of(iterated)
    found = tags(client, "tiny-reward-model", "2")
    assert found["dataset.training"] == tags(client, "tiny-reward-model", "1")["dataset.training"]
    assert found["dataset.training-2"].startswith("preferences-2:")
    assert found["origin.training-2.sampled-from"] == "tiny-policy/1"
    assert found["origin.training-2.sampled-from.digest"] == tags(client, "tiny-policy", "1")["rlhf.digest"]
    assert found["annotator.training-2"] == "3 simulated annotators"
    assert (found["parent.last"], found["parent.judge"]) == ("tiny-reward-model/1", "tiny-judge/1")
    policy = tags(client, "tiny-policy", "2")
    parents = {role: policy[f"parent.{role}"] for role in ("sft", "reward-model", "judge")}
    assert parents == {"sft": "tiny-sft/1", "reward-model": "tiny-reward-model/2", "judge": "tiny-judge/1"}
    assert [alias(client, f"tiny-{name}") for name in ("sft", "reward-model", "policy")] == ["1", "2", "2"]


def test_agreement_on_answers_of_the_policy_is_measured_with_and_without_refresh(
    iterated: Path, client_of: Client, runs_of: Runs, tmp_path: Path
) -> None:
    first, second = runs_of(iterated, "reward-model")
    client = client_of(iterated)
    path = client.download_artifacts(second.info.run_id, "estimates.json", str(tmp_path))
    found: dict[str, Any] = json.loads(Path(path).read_text())
    assert all(f"final/{name}" in second.data.metrics for name in FIGURES)
    assert not any(f"final/{name}" in first.data.metrics for name in FIGURES)
    after, before, gain = (found[name]["value"] for name in FIGURES[:3])
    assert gain == pytest.approx(after - before)
    (digest,) = [
        json.loads(str(item.dataset.profile))["num_rows_test"]
        for item in second.inputs.dataset_inputs
        if item.dataset.name == "preferences-2"
    ]
    assert {found[name]["n"] for name in FIGURES} == {digest}
    assert found["agreement_on_policy"]["lower"] < after < found["agreement_on_policy"]["upper"]


def test_the_summary_shows_the_rounds(iterated: Path, runs_of: Runs) -> None:
    said = (iterated / "said.txt").read_text()
    rounds = said[said.index("rounds [95 % interval]") :]
    assert "tiny-policy/1" in rounds and "tiny-policy/2" in rounds and "of tiny-policy/1 by 3 simulated" in rounds
    assert "trained reward-model, policy" in rounds and "agreement_on_policy_gain" in said
    (second,) = runs_of(iterated, "ladder round 2")
    assert {item.dataset.name for item in second.inputs.dataset_inputs} >= {"preferences", "preferences-2"}


def test_the_same_again_finds_nothing_to_retrain(iterate: Climb, iterated: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(iterated, tmp_path / "storage"))
    again = iterate(copied)
    assert again.returncode == 0, again.stderr
    assert started(again) == []
    assert again.stdout.count("nothing to retrain: data (demonstrations ") == 2
    assert "preferences-2 " in again.stdout


def test_lineage_goes_through_the_fresh_pairs_to_the_policy_before_and_all_of_it_holds(
    iterated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{iterated / 'mlflow.db'}")
    archive = Archive(MlflowClient())
    story = tell(archive, "tiny-policy@challenger")
    (use,) = [use for use in story.graph.versions["tiny-reward-model/2"].datasets if use == "training-2"]
    node = story.graph.versions["tiny-reward-model/2"].inputs[use]
    told = shown(render(story))
    digest = node.removeprefix("dataset:")
    assert f"training-2: preferences-2 {digest[:12]}, contract {CONTRACT_VERSION}, " in told
    assert "labelled by 3 simulated annotators" in told and "sampled-from: tiny-policy/1" in told
    edges = {(edge["from"], edge["to"], edge["role"]) for edge in json.loads(as_json(story))["edges"]}
    assert {("tiny-policy/1", node, "sampled-from"), (node, "tiny-reward-model/2", "training-2")} <= edges
    page = as_html(story, Servers("http://mlflow", "http://prefect"))
    assert page.count("sampled-from") == 1 and "preferences-2" in page
    listed = [line for line in shown(impact.render(archive, "tiny-policy/1")).splitlines() if line.startswith("tiny-")]
    assert {line.split()[0] for line in listed[1:]} == {"tiny-reward-model/2", "tiny-policy/2", "tiny-value/2"}
    assert all(f"preferences-2 {digest[:12]}" in line for line in listed[1:])
    found = audit(archive, [archive.find("tiny-policy/2")])
    assert not [finding for finding in found if finding.status in DOUBTS]
    assert "data training-2.sampled-from" in {finding.what for finding in found}
    tagged = MlflowClient().get_run(story.snapshots[digest].run_id).data.tags
    assert tagged["origin.sampled-from"] == "tiny-policy/1" and tagged["annotator.name"] == "3 simulated annotators"


def test_a_gate_on_the_gain_stops_the_second_round_and_the_alias_stays_with_the_first(
    iterate: Climb, iterated: Path, client_of: Client, tmp_path: Path
) -> None:
    copied = Path(shutil.copytree(iterated, tmp_path / "storage"))
    gate = {"name": "refreshed", "metric": FIGURES[2], "direction": "above", "threshold": 2, "when_missing": "pass"}
    gate |= {"min_samples": 2, "failure": "learned nothing", "reason": "for the test"}
    stopped = iterate(copied, f"gates.reward_model=[{json.dumps(gate)}]")
    assert stopped.returncode == 3 and started(stopped) == []
    assert "not measured, which these allow: refreshed" in stopped.stdout
    assert "is not above 2" in stopped.stdout and "learned nothing" in stopped.stdout
    client = client_of(copied)
    assert [alias(client, f"tiny-{name}") for name in ("reward-model", "policy")] == ["1", "1"]


def test_people_label_between_two_runs(
    iterate: Climb, copied_home: Path, client_of: Client, runs_of: Runs, tmp_path: Path
) -> None:
    waiting = iterate(copied_home, PEOPLE)
    assert waiting.returncode == 4, waiting.stderr
    assert "waiting for labels: have the pairs of " in waiting.stdout and started(waiting) == []
    (path,) = (copied_home / "relabel").glob("*.json")
    (run,) = runs_of(copied_home, "ladder round 2")
    assert run.info.status == "FINISHED" and str(path) in run.data.tags["rlhf.outcome"]
    tasks = json.loads(path.read_text())
    for number, task in enumerate(tasks):
        side = ("left", "right")[number % 2]
        task["annotations"] = [{"completed_by": 1, "result": [{"type": "pairwise", "value": {"selected": side}}]}]
    path.with_name(f"{path.stem}.labelled.json").write_text(json.dumps(tasks))
    done = iterate(copied_home, PEOPLE)
    assert done.returncode == 0, done.stderr + done.stdout
    assert started(done) == ["reward-model", "policy"]
    found = tags(client_of(copied_home), "tiny-reward-model", "2")
    assert found["annotator.training-2"] == f"people, {path.stem}.labelled.json"
    assert found["origin.training-2.sampled-from"] == "tiny-policy/1"
