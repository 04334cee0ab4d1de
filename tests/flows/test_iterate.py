"""The ladder in rounds, by the real entry point: what is trained, measured, remembered and told of each."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

pytestmark = pytest.mark.slow

Climb = Callable[..., CompletedProcess[str]]
Client = Callable[[Path], MlflowClient]
Runs = Callable[[Path, str], list[Run]]

TINY = Path(__file__).parents[2] / "configs" / "tiny.yaml"
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
    assert "tiny-policy/1" in rounds and "tiny-policy/2" in rounds and "by 3 simulated annotators" in rounds
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
    rlhf: Climb, iterated: Path, tmp_path: Path, client_of: Client
) -> None:
    where = ("--config", TINY, "--set", f"storage={iterated}")
    digest = tags(client_of(iterated), "tiny-reward-model", "2")["dataset.training-2"].partition(":")[2]
    told = rlhf("lineage", "tiny-policy@challenger", *where)
    assert told.returncode == 0, told.stderr
    assert f"training-2: preferences-2 {digest[:12]}, contract 2, " in told.stdout
    assert "labelled by 3 simulated annotators" in told.stdout and "sampled-from: tiny-policy/1" in told.stdout
    impact = rlhf("impact", "tiny-policy/1", *where).stdout
    way = {line.split()[0]: line for line in impact.splitlines() if line.startswith("tiny-")}
    assert way.keys() >= {"tiny-reward-model/2", "tiny-policy/2", "tiny-value/2"}
    assert f"preferences-2 {digest[:12]}" in way["tiny-reward-model/2"]
    audited = rlhf("audit", "tiny-policy/2", *where)
    assert audited.returncode == 0, audited.stdout
    assert "data training-2.sampled-from" in audited.stdout and " 0 missing, 0 altered" in audited.stdout
    page = tmp_path / "lineage.html"
    assert rlhf("lineage", "tiny-policy/2", "--html", page, *where).returncode == 0
    assert "sampled-from" in page.read_text()


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


def test_rounds_need_somebody_who_labels_and_a_reward_model_that_is_trained(iterate: Climb, copied_home: Path) -> None:
    missing = iterate(copied_home, "relabel=null")
    assert missing.returncode == 2 and "field 'relabel' is missing" in missing.stderr
