"""A rung alone: it takes what it stands on from the registry, and evaluation measures there without training."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from rlhf_core.ppo.early_stopping import STOPS
from tests.forked import run_rlhf

pytestmark = pytest.mark.slow

Client = Callable[[Path], MlflowClient]
Runs = Callable[[Path, str], list[Run]]

ALONE = """
import json, os, sys
from pathlib import Path
from flows.config.loading import load_config
from flows.deploy.environment import prepare, quiet
quiet()
name, storage, parameters, *overrides = sys.argv[1:]
config = load_config(Path("configs/tiny.yaml"), overrides=[f"storage={storage}", *overrides])
prepare(config.storage, threads=1)
from flows.deploy.prefect_server import start_server
start_server()
from flows.pipeline import evaluate, single_stage
flow = getattr(single_stage, name, None) or evaluate.evaluate
state = flow(config, **json.loads(parameters), return_state=True)
result = state.result(raise_on_failure=False)
print(json.dumps({"state": state.name, "message": state.message, "retrained": getattr(result, "retrained", None)}))
"""


def run(flow: str, storage: Path, *overrides: str, **parameters: Any) -> dict[str, Any]:
    """Run a flow by itself; how it ended."""
    chosen = ("PREFECT_HOME", "PREFECT_API_URL", "PREFECT_LOCAL_STORAGE_PATH", "MLFLOW_TRACKING_URI")
    environment = {name: value for name, value in os.environ.items() if name not in chosen}
    done = run_rlhf(flow, storage, json.dumps(parameters), *overrides, environment=environment, code=ALONE)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def estimates(client: MlflowClient, run: Run, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    return dict(json.loads(Path(client.download_artifacts(run.info.run_id, "estimates.json", str(folder))).read_text()))


def test_a_reward_model_starts_from_the_champion_as_it_was_pinned(
    copied_home: Path, client_of: Client, runs_of: Runs
) -> None:
    client = client_of(copied_home)
    client.set_registered_model_alias("tiny-sft", "champion", "1")
    made = run("reward_model_alone", copied_home, "reward_model.epochs=2")
    assert made == {"state": "Completed", "message": None, "retrained": ["reward-model"]}
    version = client.get_model_version("tiny-reward-model", "2")
    assert version.tags["parent.sft"] == "tiny-sft/1" and version.tags["gate.status"] == "passed"
    aliases = client.get_registered_model("tiny-reward-model").aliases
    assert {alias: str(found) for alias, found in aliases.items()} == {"challenger": "2"}
    assert len(client.search_model_versions("name='tiny-sft'")) == 1
    (alone,) = runs_of(copied_home, "reward model alone")
    assert alone.data.tags["input.sft"] == "tiny-sft/1" and alone.info.status == "FINISHED"
    again = run("reward_model_alone", copied_home, "reward_model.epochs=2")
    assert again["state"] == "NothingToRetrain" and f"are those of run {alone.info.run_id}" in again["message"]


def test_a_policy_takes_the_reward_model_that_is_named_and_its_start(copied_home: Path, client_of: Client) -> None:
    made = run("policy_alone", copied_home, "policy.beta=0.2", reward_model="tiny-reward-model/1")
    assert made["retrained"] == ["policy"]
    tags = client_of(copied_home).get_model_version("tiny-policy", "2").tags
    parents = {role: tags[f"parent.{role}"] for role in ("sft", "reward-model", "judge")}
    assert parents == {"sft": "tiny-sft/1", "reward-model": "tiny-reward-model/1", "judge": "tiny-judge/1"}


def test_of_two_promotions_only_the_last_trains_a_policy(copied_home: Path, client_of: Client) -> None:
    client = client_of(copied_home)
    run("reward_model_alone", copied_home, "reward_model.epochs=2", sft="tiny-sft/1")
    client.set_registered_model_alias("tiny-reward-model", "champion", "2")
    overtaken = run("policy_alone", copied_home, reward_model="tiny-reward-model/1", promoted=True)
    assert overtaken == {
        "state": "Overtaken",
        "message": "tiny-reward-model/1 was promoted; by now tiny-reward-model/2 is champion",
        "retrained": None,
    }
    made = run("policy_alone", copied_home, reward_model="tiny-reward-model/2", promoted=True)
    assert made["retrained"] == ["policy"]


def test_a_policy_refuses_a_reward_model_that_failed_its_gates_unless_these_advise(
    copied_home: Path, client_of: Client
) -> None:
    client_of(copied_home).set_model_version_tag("tiny-reward-model", "1", "gate.status", "failed")
    refused = run("policy_alone", copied_home, reward_model="tiny-reward-model@challenger")
    assert refused["state"] == "Failed"
    assert "tiny-reward-model/1 has gate.status 'failed': name or promote" in refused["message"]
    advised = run("policy_alone", copied_home, "gates.mode=advisory", reward_model="tiny-reward-model@challenger")
    assert advised["state"] == "NothingToRetrain"


def test_without_a_champion_a_stage_says_what_is_missing(copied_home: Path) -> None:
    assert "tiny-sft has no alias 'champion'" in run("reward_model_alone", copied_home)["message"]
    assert "tiny has no champion to measure" in run("evaluate", copied_home)["message"]


def test_evaluation_finds_the_figures_of_the_training_on_the_same_data(
    copied_home: Path, client_of: Client, runs_of: Runs, tmp_path: Path
) -> None:
    client = client_of(copied_home)
    for name in ("sft", "reward-model", "policy"):
        client.set_registered_model_alias(f"tiny-{name}", "champion", "1")
    assert run("evaluate", copied_home)["state"] == "Completed"
    for stage in ("sft", "reward-model", "policy"):
        (trained,), (measured,) = runs_of(copied_home, stage), runs_of(copied_home, f"evaluate-{stage}")
        then = estimates(client, trained, tmp_path / f"then-{stage}")
        now = estimates(client, measured, tmp_path / f"now-{stage}")
        of_the_run = {*STOPS, "entropy_trend_nats", "reward_offset"} if stage == "policy" else set()
        assert then.keys() == now.keys() | of_the_run
        for name, figure in now.items():
            assert figure["value"] == pytest.approx(then[name]["value"], abs=1e-4), name
            assert figure["n"] == then[name]["n"]
    versions = client.search_model_versions("name='tiny-policy'")
    assert len(versions) == 1  # nothing was trained


def test_other_shares_judge_a_version_by_what_it_was_not_trained_on(
    copied_home: Path, client_of: Client, runs_of: Runs, tmp_path: Path
) -> None:
    """Half of the groups are held out now, most of which the version was trained on."""
    assert run("evaluate", copied_home, "shares.test=0.5", reward_model="tiny-reward-model/1")["state"] == "Completed"
    (trained,), (measured,) = runs_of(copied_home, "reward-model"), runs_of(copied_home, "evaluate-reward-model")
    (sft,), (ladder,) = runs_of(copied_home, "sft"), runs_of(copied_home, "evaluate")
    then, demonstrations, now = (
        table(of, name) for of, name in ((trained, "preferences"), (sft, "demonstrations"), (ladder, "preferences"))
    )
    taught = {*then[then.split == "train"].prompt, *demonstrations[demonstrations.split == "train"].prompt}
    held_out, tested = now[now.split == "test"], list(dict.fromkeys(then[then.split == "test"].prompt))
    seen = held_out.prompt.isin(taught)
    assert 0.2 < seen.mean() < 0.5
    metrics = measured.data.metrics
    assert (metrics["left_out_rows"], metrics["held_out_rows"]) == (seen.sum(), len(held_out))
    judging = held_out[~seen & ~held_out.prompt.isin(tested[::2])]
    assert estimates(client_of(copied_home), measured, tmp_path / "now")["agreement"]["n"] == judging.prompt.nunique()
    summary = client_of(copied_home).download_artifacts(ladder.info.run_id, "summary.txt", str(tmp_path))
    assert f"{seen.sum()} of {len(held_out)} held-out pairs left out" in " ".join(Path(summary).read_text().split())


def table(run: Run, name: str) -> pd.DataFrame:
    """The snapshot of that name that a run names."""
    (dataset,) = (item.dataset for item in run.inputs.dataset_inputs if item.dataset.name == name)
    return pd.read_parquet(json.loads(dataset.source)["uri"])


GATE = "name: impossible, direction: above, threshold: 9, min_samples: 1, failure: too small, reason: for the test"


def test_evaluation_judges_every_model_before_it_stops_and_takes_the_alias_off_what_failed(
    copied_home: Path, client_of: Client
) -> None:
    gates = (f"gates.sft=[{{metric: eos_rate, {GATE}}}]", f"gates.policy=[{{metric: eos_rate, {GATE}}}]")
    ended = run("evaluate", copied_home, *gates, sft="tiny-sft/1", policy="tiny-policy/1")
    assert ended["state"] == "Failed" and ended["message"].count("eos_rate: lower bound") == 2
    client = client_of(copied_home)
    names = ("tiny-sft", "tiny-reward-model", "tiny-policy")
    status = {name: client.get_model_version(name, "1").tags["gate.status"] for name in names}
    assert status == {"tiny-sft": "failed", "tiny-reward-model": "passed", "tiny-policy": "failed"}
    aliases = {name: set(client.get_registered_model(name).aliases) for name in names}
    assert aliases == {"tiny-sft": set(), "tiny-reward-model": {"challenger"}, "tiny-policy": set()}
