"""The same ladder by other methods: a policy by DPO, beside best-of-n, and reward models that are taken."""

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
from transformers import ByT5Tokenizer, LlamaConfig, LlamaForSequenceClassification

from rlhf_core.ppo.early_stopping import STOPS

pytestmark = pytest.mark.slow

Climb = Callable[..., CompletedProcess[str]]
Client = Callable[[Path], MlflowClient]
Runs = Callable[[Path, str], list[Run]]

DPO = "policy={method: dpo, evaluation_prompts: 20, best_of_n: 4, optimiser: {lr: 1.0e-3}}"
GATE = (
    "gates.policy=[{name: best-of-n, metric: judge_gain_over_best_of_n, direction: above, threshold: THRESHOLD, "
    "in_doubt: pass, min_samples: 5, failure: worse than choosing, reason: for the test}]"
)
REVISION = "0123456789abcdef0123456789abcdef01234567"


def started(done: CompletedProcess[str]) -> list[str]:
    return [line.partition(":")[0] for line in done.stderr.splitlines() if line.endswith(": started")]


def tags(client: MlflowClient, name: str, version: str) -> dict[str, str]:
    return dict(client.get_model_version(name, version).tags)


def alias(client: MlflowClient, name: str) -> str:
    return str(client.get_registered_model(name).aliases["challenger"])


def estimates(client: MlflowClient, run: Run, folder: Path) -> dict[str, dict[str, float]]:
    folder.mkdir()
    found: dict[str, Any] = json.loads(
        Path(client.download_artifacts(run.info.run_id, "estimates.json", str(folder))).read_text()
    )
    return found


@pytest.fixture(scope="module")
def preferred(
    climb: Climb, climbed: CompletedProcess[str], home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A copy of the shared climb on which another one has stood whose policy learned by DPO."""
    copied = Path(shutil.copytree(home, tmp_path_factory.mktemp("dpo") / "storage"))
    done = climb(copied, DPO, GATE.replace("THRESHOLD", "-100"))
    assert done.returncode == 0, done.stderr
    assert started(done) == ["policy"]
    (copied / "said.txt").write_text(done.stdout)
    return copied


def test_a_policy_by_dpo_is_registered_with_its_lineage_and_becomes_challenger(
    preferred: Path, client_of: Client, runs_of: Runs, tmp_path: Path
) -> None:
    client = client_of(preferred)
    assert alias(client, "tiny-policy") == "2"
    found = tags(client, "tiny-policy", "2")
    parents = {role: found[f"parent.{role}"] for role in ("sft", "reward-model", "judge")}
    assert parents == {"sft": "tiny-sft/1", "reward-model": "tiny-reward-model/1", "judge": "tiny-judge/1"}
    assert found["dataset.training"].startswith("preferences:") and found["dataset.evaluation"].startswith("prompts:")
    assert found["gate.best-of-n"] == "pass"
    assert "Policy trained with DPO" in str(client.get_model_version("tiny-policy", "2").description)
    assert [str(found.version) for found in client.search_model_versions("name='tiny-value'")] == ["1"]


def test_it_is_measured_as_the_policy_of_ppo_is_and_as_a_learner_of_pairs_too(
    preferred: Path, client_of: Client, runs_of: Runs, tmp_path: Path
) -> None:
    client = client_of(preferred)
    first, second = runs_of(preferred, "policy")
    by_ppo, by_dpo = (estimates(client, run, tmp_path / run.info.run_id) for run in (first, second))
    of_pairs = {"held_out_loss", "margin", "agreement"}
    of_choosing = {
        "best_of_n", "best_of_n_kl_nats", "best_of_n_reward_gain", "best_of_n_judge_gain",
        "judge_gain_over_best_of_n", "judge_win_rate_over_best_of_n",
    }  # fmt: skip
    of_watching = {*STOPS, "entropy_trend_nats", "reward_offset"}  # of PPO's run as a whole
    assert by_dpo.keys() == (by_ppo.keys() - of_watching) | of_pairs | of_choosing
    assert by_dpo["margin"]["lower"] > 0
    gain = by_dpo["judge_reward_gain"]["value"] - by_dpo["best_of_n_judge_gain"]["value"]
    assert by_dpo["judge_gain_over_best_of_n"]["value"] == pytest.approx(gain)
    said = (preferred / "said.txt").read_text()
    assert "best_of_n_judge_gain" in said and "trained policy" in said
    assert len(client.get_metric_history(second.info.run_id, "loss_nats")) > 1


def test_a_second_climb_by_dpo_has_nothing_to_do_and_ppo_takes_the_alias_back(
    climb: Climb, preferred: Path, client_of: Client, tmp_path: Path
) -> None:
    copied = Path(shutil.copytree(preferred, tmp_path / "storage"))
    again = climb(copied, DPO, GATE.replace("THRESHOLD", "-100"))
    assert again.returncode == 0 and started(again) == [] and "nothing to retrain" in again.stdout
    assert climb(copied).returncode == 0
    assert alias(client_of(copied), "tiny-policy") == "1"


def test_a_policy_that_is_worse_than_choosing_gets_no_alias(
    climb: Climb, preferred: Path, client_of: Client, tmp_path: Path
) -> None:
    copied = Path(shutil.copytree(preferred, tmp_path / "storage"))
    stopped = climb(copied, DPO, GATE.replace("THRESHOLD", "100"))
    assert stopped.returncode == 3 and started(stopped) == []
    assert "is not above 100" in stopped.stdout and "worse than choosing" in stopped.stdout
    client = client_of(copied)
    assert tags(client, "tiny-policy", "2")["gate.status"] == "failed"
    assert client.get_registered_model("tiny-policy").aliases == {}


def test_it_answers_is_measured_again_and_can_be_promoted(
    rlhf: Climb, preferred: Path, tmp_path: Path, client_of: Client, runs_of: Runs
) -> None:
    copied = Path(shutil.copytree(preferred, tmp_path / "storage"))
    where = ("--config", "configs/tiny.yaml", "--set", f"storage={copied}")
    answered = rlhf("generate", "tiny-policy@challenger", "how do i mend a kettle ?", *where)
    assert answered.returncode == 0 and answered.stdout.strip()
    promoted = rlhf("promote", "tiny-policy", "--yes", *where)
    assert promoted.returncode == 0, promoted.stderr
    client = client_of(copied)
    assert str(client.get_model_version_by_alias("tiny-policy", "champion").version) == "2"


@pytest.fixture
def taken_from(climb: Climb, copied_home: Path) -> Callable[..., CompletedProcess[str]]:
    """Climb with a reward model that is taken."""

    def run(source: str, *more: str) -> CompletedProcess[str]:
        return climb(copied_home, f"reward_model={{from: {source}}}", *more)

    return run


def test_a_registered_reward_model_is_measured_and_judged_like_the_trained_one(
    taken_from: Callable[..., CompletedProcess[str]],
    copied_home: Path,
    client_of: Client,
    runs_of: Runs,
    tmp_path: Path,
) -> None:
    done = taken_from("'models:/tiny-reward-model@challenger'")
    assert done.returncode == 0, done.stderr
    assert started(done) == ["reward-model"]  # its content is that of version 1, and so is the policy's
    client = client_of(copied_home)
    found = tags(client, "tiny-reward-model", "2")
    assert found["parent.taken"] == "tiny-reward-model/1" and found["parent.sft"] == "tiny-sft/1"
    assert found["gate.measured"] == "pass" and found["gate.status"] == "passed"
    assert "taken from tiny-reward-model/1" in str(client.get_model_version("tiny-reward-model", "2").description)
    first, second = (estimates(client, run, tmp_path / run.info.run_id) for run in runs_of(copied_home, "reward-model"))
    assert first.keys() == second.keys()
    for name, figure in first.items():
        assert second[name]["value"] == pytest.approx(figure["value"], abs=1e-4), name
    assert first["parameter_ratio"]["value"] == pytest.approx(1.0, abs=0.05)
    assert (alias(client, "tiny-reward-model"), alias(client, "tiny-policy")) == ("2", "1")


def test_a_reward_model_of_the_hub_is_taken_at_its_revision(
    taken_from: Callable[..., CompletedProcess[str]],
    copied_home: Path,
    client_of: Client,
    hub_models: Path,
) -> None:
    client = client_of(copied_home)
    source = str(client.get_model_version("tiny-judge", "1").source).removeprefix("models:/")
    folder = client.get_logged_model(source).artifact_location.removeprefix("file://")
    shutil.copytree(folder, hub_models / "models--org--judge" / "snapshots" / REVISION)
    done = taken_from(f"{{model: org/judge, revision: {REVISION}}}")
    assert done.returncode == 0, done.stderr
    assert "taken from org/judge@01234567" in str(client.get_model_version("tiny-reward-model", "2").description)
    assert "parent.taken" not in tags(client, "tiny-reward-model", "2")
    assert tags(client, "tiny-policy", alias(client, "tiny-policy"))["parent.reward-model"] == "tiny-reward-model/2"


def test_a_reward_model_of_another_family_that_reads_bytes_is_taken_and_maximised(
    taken_from: Callable[..., CompletedProcess[str]],
    copied_home: Path,
    client_of: Client,
    runs_of: Runs,
    tmp_path: Path,
    hub_models: Path,
) -> None:
    tokenizer = ByT5Tokenizer(chat_template="{% for message in messages %}{{ message['content'] }}\n{% endfor %}")
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "num_labels": 1}
    torch.manual_seed(1)
    model = LlamaForSequenceClassification(LlamaConfig(vocab_size=len(tokenizer), **shape, **ends))
    for part in (model, tokenizer):
        part.save_pretrained(hub_models / "models--org--bytes" / "snapshots" / REVISION)
    done = taken_from(f"{{model: org/bytes, revision: {REVISION}}}", "reward_model.max_response_tokens=256")
    assert done.returncode == 0, done.stderr
    assert started(done) == ["reward-model", "policy"]
    client = client_of(copied_home)
    taken, policy = (
        estimates(client, runs_of(copied_home, stage)[-1], tmp_path / stage) for stage in ("reward-model", "policy")
    )
    assert 0.0 < taken["parameter_ratio"]["value"] < 1.0
    assert {"reward_gain", "judge_reward_gain"} <= policy.keys()
    assert tags(client, "tiny-value", "2")["parent.reward-model"] == "tiny-reward-model/2"


@pytest.mark.parametrize(
    ("source", "refusal"),
    [
        ("'models:/tiny-reward-model@nobody'", "tiny-reward-model has no alias 'nobody'"),
        ("'models:/tiny-reward-model/7'", "tiny-reward-model/7 is not in the registry"),
        ("'models:/tiny-sft/1'", "field 'reward_model.from': tiny-sft/1: GPT2LMHeadModel with"),
    ],
)
def test_what_cannot_be_taken_is_named(
    taken_from: Callable[..., CompletedProcess[str]], source: str, refusal: str
) -> None:
    done = taken_from(source)
    assert done.returncode == 2, done.stderr
    assert refusal in done.stderr
