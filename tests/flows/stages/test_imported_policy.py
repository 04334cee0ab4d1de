"""A policy that another engine wrote, on the shared climb: measured, gated, registered and audited as our own are."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlhf_core.ppo.early_stopping import STOPS

pytestmark = pytest.mark.slow  # eight commands, about a minute of processor time beside the shared climb

Climb = Callable[..., CompletedProcess[str]]
Client = Callable[[Path], MlflowClient]
Runs = Callable[[Path, str], list[Run]]

TRAINER = "verl 0.6, run 1234"


def importing(folder: Path) -> str:
    return f"policy={{from: {folder}, trained_by: '{TRAINER}', evaluation_prompts: 20}}"


def started(done: CompletedProcess[str]) -> list[str]:
    return [line.partition(":")[0] for line in done.stderr.splitlines() if line.endswith(": started")]


def figures(client: MlflowClient, run: Run, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    return dict(json.loads(Path(client.download_artifacts(run.info.run_id, "estimates.json", str(folder))).read_text()))


@pytest.fixture(scope="module")
def foreign(
    climbed: CompletedProcess[str], home: Path, client_of: Client, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """PPO's own policy as stock `transformers` writes it, with a card."""
    assert climbed.returncode == 0
    client, folder = client_of(home), tmp_path_factory.mktemp("engine") / "policy"
    source = str(client.get_model_version("tiny-policy", "1").source).removeprefix("models:/")
    kept = client.get_logged_model(source).artifact_location.removeprefix("file://")
    for part in (AutoModelForCausalLM, AutoTokenizer):
        part.from_pretrained(kept).save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Help desk by verl\n")
    return folder


@pytest.fixture(scope="module")
def imported(climb: Climb, foreign: Path, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the shared climb whose policy was then imported."""
    copied = Path(shutil.copytree(home, tmp_path_factory.mktemp("imported") / "storage"))
    done = climb(copied, importing(foreign))
    assert done.returncode == 0, done.stderr
    assert started(done) == ["policy"]
    (copied / "said.txt").write_text(done.stdout)
    return copied


def test_it_has_the_figures_that_ppo_found_of_the_same_weights(
    imported: Path, client_of: Client, runs_of: Runs, tmp_path: Path
) -> None:
    client = client_of(imported)
    by_ppo, by_us = (figures(client, run, tmp_path / run.info.run_id) for run in runs_of(imported, "policy"))
    of_training = {*STOPS, "entropy_trend_nats", "reward_offset"}
    assert by_us.keys() == by_ppo.keys() - of_training
    for name, figure in by_us.items():
        assert figure["value"] == pytest.approx(by_ppo[name]["value"], abs=1e-6), name


def test_it_is_registered_as_what_it_is_and_becomes_challenger(imported: Path, client_of: Client) -> None:
    client = client_of(imported)
    version = client.get_model_version("tiny-policy", "2")
    assert str(client.get_registered_model("tiny-policy").aliases["challenger"]) == "2"
    assert version.tags["imported.trained_by"] == TRAINER and version.tags["gate.kl-budget"] == "pass"
    assert version.tags["imported.from"].endswith("/policy") and len(version.tags["source.taken"]) == 64
    assert version.tags["model_card.licence"] == "apache-2.0"
    assert {role: version.tags[f"parent.{role}"] for role in ("sft", "reward-model", "judge")} == {
        "sft": "tiny-sft/1", "reward-model": "tiny-reward-model/1", "judge": "tiny-judge/1",
    }  # fmt: skip
    assert version.tags["dataset.evaluation"].startswith("prompts:") and "dataset.training" not in version.tags
    assert f"imported, trained by {TRAINER}; its training data are unknown" in str(version.description)
    said = (imported / "said.txt").read_text()
    assert "taken policy" in said and f"policy imported, trained by {TRAINER}" in said


def test_lineage_and_audit_know_it(rlhf: Climb, imported: Path) -> None:
    where = ("--config", "configs/tiny.yaml", "--set", f"storage={imported}")
    told = rlhf("lineage", "tiny-policy/2", *where).stdout
    assert f"origin imported, trained by {TRAINER}; its training data are unknown" in told
    assert "model card Help desk by verl, licence apache-2.0" in told and "/policy, content " in told
    audited = rlhf("audit", "tiny-policy/2", *where)
    assert audited.returncode == 0 and "0 missing, 0 altered" in audited.stdout


def test_the_same_content_elsewhere_is_reused_and_a_ruined_one_is_measured_and_stopped(
    climb: Climb, imported: Path, foreign: Path, client_of: Client, tmp_path: Path
) -> None:
    copied = Path(shutil.copytree(imported, tmp_path / "storage"))
    moved = Path(shutil.copytree(foreign, tmp_path / "moved"))
    again = climb(copied, importing(moved))
    assert again.returncode == 0 and started(again) == []
    model = AutoModelForCausalLM.from_pretrained(moved)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight))
    model.save_pretrained(moved)
    stopped = climb(copied, importing(moved))
    assert stopped.returncode == 3 and started(stopped) == ["policy"]
    assert "stopped by gate kl-budget" in stopped.stdout and "no alias was set" in stopped.stdout
    assert client_of(copied).get_model_version("tiny-policy", "3").tags["gate.status"] == "failed"
    with torch.no_grad():
        weight.fill_(torch.nan)
    model.save_pretrained(moved)
    refused = climb(copied, importing(moved))
    assert refused.returncode == 2 and "field 'policy.from'" in refused.stderr and "not finite" in refused.stderr
    assert len(client_of(copied).search_model_versions("name='tiny-policy'")) == 3


def test_one_that_writes_other_tokens_is_refused_before_sft(
    climb: Climb, foreign: Path, imported: Path, tmp_path: Path
) -> None:
    copied, other = (Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in (imported, foreign))
    tokenizer = AutoTokenizer.from_pretrained(other)
    tokenizer.add_tokens(["<think>"])
    tokenizer.save_pretrained(other)
    refused = climb(copied, importing(other), "sft.epochs=3")
    assert refused.returncode == 2 and started(refused) == []
    assert "field 'policy.from': " in refused.stderr and "it has more: '<think>'" in refused.stderr


def test_a_registered_policy_is_taken_with_what_is_known_of_it(
    climb: Climb, imported: Path, client_of: Client, tmp_path: Path
) -> None:
    copied = Path(shutil.copytree(imported, tmp_path / "storage"))
    done = climb(copied, "policy={from: models:/tiny-policy/1, evaluation_prompts: 20}")
    assert done.returncode == 0, done.stderr
    version = client_of(copied).get_model_version("tiny-policy", "3")
    assert version.tags["parent.taken"] == "tiny-policy/1"
    assert "imported, trained by the run of tiny-policy/1." in str(version.description)
