"""What a whole climb leaves in MLflow, in Prefect and on the screen."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.forked import run_rlhf

pytestmark = pytest.mark.slow

STAGES = ("base", "sft", "reward-model", "judge", "policy")
MODELS = ("tiny-base", "tiny-sft", "tiny-reward-model", "tiny-judge", "tiny-policy", "tiny-value")
PARENTS = {
    "base": {},
    "sft": {"base": "tiny-base/1"},
    "reward-model": {"sft": "tiny-sft/1"},
    "judge": {"sft": "tiny-sft/1"},
    "policy": {"sft": "tiny-sft/1", "reward-model": "tiny-reward-model/1", "judge": "tiny-judge/1"},
}
DATASETS = {
    "base": set(),
    "sft": {("demonstrations", "training")},
    "reward-model": {("preferences", "training"), ("demonstrations", "centring")},
    "judge": {("preferences", "training"), ("demonstrations", "centring")},
    "policy": {("prompts", "training")},
}
EVIDENCE = {
    "sft": {"sft-demonstrations", "sft-answers"},
    "reward-model": {"reward-model-pairs", "reward-model-demonstrations", "reward-model-stress"},
    "judge": {"judge-pairs", "judge-demonstrations", "judge-stress"},
    "policy": {"policy-answers"},
}
MADE = {"policy": ("tiny-policy", "tiny-value")}

Runs = Callable[[Path, str], list[Run]]


@pytest.fixture(scope="module")
def client(climbed: CompletedProcess[str], home: Path, client_of: Callable[[Path], MlflowClient]) -> MlflowClient:
    return client_of(home)


@pytest.fixture(scope="module")
def runs(climbed: CompletedProcess[str], home: Path, runs_of: Runs) -> dict[str, Run]:
    found = {name: runs_of(home, name) for name in ("ladder", *STAGES)}
    assert {name: len(several) for name, several in found.items()} == dict.fromkeys(found, 1)
    return {name: run for name, (run,) in found.items()}


def files(client: MlflowClient, run: Run, folder: str = "") -> dict[str, int]:
    return {item.path: item.file_size for item in client.list_artifacts(run.info.run_id, folder) if not item.is_dir}


def content(client: MlflowClient, run: Run, path: str, folder: Path) -> str:
    return Path(client.download_artifacts(run.info.run_id, path, str(folder))).read_text(encoding="utf-8")


def model_id(client: MlflowClient, label: str) -> str:
    name, _, version = label.partition("/")
    return str(client.get_model_version(name, version).source).removeprefix("models:/")


def test_a_climb_says_what_it_trained_and_names_every_version(climbed: CompletedProcess[str]) -> None:
    assert "trained base, sft, reward-model, judge, policy" in climbed.stdout
    assert "alias 'challenger' set on these versions" in climbed.stdout
    assert all(f"{name}/1" in climbed.stdout for name in MODELS)
    started = [line.partition(":")[0] for line in climbed.stderr.splitlines() if line.endswith(": started")]
    assert started == list(STAGES)


def test_a_climb_says_nothing_else_on_the_way(climbed: CompletedProcess[str]) -> None:
    first, forecast, *lines = climbed.stderr.splitlines()
    assert first.startswith("climbing tiny in ")
    assert forecast.startswith("to train: base, sft, reward-model, judge, policy; how long base, sft, ")
    assert {line.partition(":")[0] for line in lines} == set(STAGES)
    among = [line for line in lines if ": stage " in line]
    assert [line[: len(stage) + 14] for stage, line in zip(STAGES, among, strict=True)] == [
        f"{stage}: stage {number} of 5" for number, stage in enumerate(STAGES, start=1)
    ]
    assert among[2] == "reward-model: stage 3 of 5; then judge, policy"


def test_a_climb_keeps_what_its_labels_are_worth_and_says_it(
    climbed: CompletedProcess[str], client: MlflowClient, runs: dict[str, Run], tmp_path: Path
) -> None:
    assert "labels: a perfect judge agrees with one annotator on 0." in climbed.stdout
    kept = files(client, runs["ladder"], "labels")
    assert set(kept) == {"labels/report.md", "labels/figures.json", "labels/odds.png"}
    assert all(kept.values())
    assert "| Krippendorff's alpha, 0 is chance | 0." in content(client, runs["ladder"], "labels/report.md", tmp_path)


def test_every_stage_registered_its_models_once(client: MlflowClient) -> None:
    found = {
        model.name: [v.version for v in client.search_model_versions(f"name='{model.name}'")]
        for model in client.search_registered_models()
    }
    assert {name: [str(version) for version in versions] for name, versions in found.items()} == {
        name: ["1"] for name in MODELS
    }


def test_the_alias_is_on_what_passed_its_gates_and_on_nothing_else(client: MlflowClient) -> None:
    aliases = {name: client.get_registered_model(name).aliases for name in MODELS}
    challengers = {name for name, found in aliases.items() if found}
    assert challengers == {"tiny-sft", "tiny-reward-model", "tiny-policy", "tiny-value"}
    assert all(
        {alias: str(version) for alias, version in aliases[name].items()} == {"challenger": "1"} for name in challengers
    )


def test_stage_runs_are_nested_in_the_run_of_the_ladder(runs: dict[str, Run]) -> None:
    ladder = runs["ladder"]
    assert "mlflow.parentRunId" not in ladder.data.tags
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for stage in STAGES:
        assert runs[stage].data.tags["mlflow.parentRunId"] == ladder.info.run_id
        assert runs[stage].data.tags["rlhf.stage"] == stage
        assert ladder.data.tags[f"stage.{stage}"] == ", ".join(
            f"{name}/1" for name in MADE.get(stage, (f"tiny-{stage}",))
        )


@pytest.mark.parametrize(
    ("stage", "metric"),
    [("base", "loss_nats"), ("sft", "loss_nats"), ("reward-model", "loss_nats"), ("judge", "loss_nats"),
     ("policy", "kl_to_sft_nats"), ("policy", "reward_score"), ("policy", "eval_judge_score")],
)  # fmt: skip
def test_metrics_are_there_by_step(client: MlflowClient, runs: dict[str, Run], stage: str, metric: str) -> None:
    history = client.get_metric_history(runs[stage].info.run_id, metric)
    steps = [point.step for point in history]
    assert len(set(steps)) == len(steps) > 1


def test_the_figures_that_gates_judge_are_metrics_with_bounds(runs: dict[str, Run]) -> None:
    for stage, figure in (("sft", "eos_rate"), ("reward-model", "agreement"), ("policy", "kl_to_sft_nats")):
        final = runs[stage].data.metrics
        assert final[f"final/{figure}/lower"] <= final[f"final/{figure}"] <= final[f"final/{figure}/upper"]


def test_the_configuration_is_logged_whole_with_the_ladder_and_by_part_with_the_stages(
    client: MlflowClient, runs: dict[str, Run], tmp_path: Path
) -> None:
    assert runs["ladder"].data.params["policy.updates"] == "2"
    assert runs["policy"].data.params["policy.updates"] == "2" and runs["policy"].data.params["seed"] == "1"
    config = json.loads(content(client, runs["ladder"], "config.json", tmp_path))
    assert config["gates"]["policy"][0]["name"] == "kl-budget"


def test_data_are_inputs_of_the_runs_that_used_them(runs: dict[str, Run]) -> None:
    def used(run: Run) -> set[tuple[str, str]]:
        return {(item.dataset.name, item.tags[0].value) for item in run.inputs.dataset_inputs}

    evidence = {stage: {(name, "evidence") for name in EVIDENCE.get(stage, ())} for stage in STAGES}
    assert {stage: used(runs[stage]) for stage in STAGES} == {
        stage: DATASETS[stage] | evidence[stage] for stage in STAGES
    }
    tables = {"demonstrations", "preferences", "prompts"}
    assert {name for name, _ in used(runs["ladder"])} == {*tables, "ladder-outside-answers"}


@pytest.mark.parametrize("stage", STAGES)
def test_parents_are_inputs_and_what_was_made_is_output(client: MlflowClient, runs: dict[str, Run], stage: str) -> None:
    inputs = {item.model_id for item in runs[stage].inputs.model_inputs}
    assert inputs == {model_id(client, label) for label in PARENTS[stage].values()}
    outputs = {item.model_id for item in runs[stage].outputs.model_outputs}
    assert outputs == {model_id(client, f"{name}/1") for name in MADE.get(stage, (f"tiny-{stage}",))}


@pytest.mark.parametrize("stage", STAGES)
def test_versions_carry_parents_data_code_and_a_description(client: MlflowClient, stage: str) -> None:
    for name in MADE.get(stage, (f"tiny-{stage}",)):
        version = client.get_model_version(name, "1")
        tags = version.tags
        parents = {
            key.removeprefix("parent."): value
            for key, value in tags.items()
            if key.startswith("parent.") and not key.endswith(".digest")
        }
        assert parents == PARENTS[stage]
        for role, label in parents.items():
            parent, _, number = label.partition("/")
            assert tags[f"parent.{role}.digest"] == client.get_model_version(parent, number).tags["rlhf.digest"]
            assert f"{role} {label}" in version.description
        data = {
            (tags[key].partition(":")[0], key.removeprefix("dataset.")) for key in tags if key.startswith("dataset.")
        }
        assert data == DATASETS[stage]
        assert tags["rlhf.code"] and tags["rlhf.key"].startswith(f"{stage}-")
        assert "/artifacts/report.html)" in version.description and "**Samples, held out**" in version.description
        assert ("**Gates: 1 of 1 passed**" in version.description) == (stage in ("sft", "reward-model", "policy"))
        assert ("Made from" in version.description) == bool(parents or data)


def test_verdicts_are_tags_of_the_versions_that_were_judged(client: MlflowClient) -> None:
    def verdicts(name: str) -> dict[str, str]:
        tags = client.get_model_version(name, "1").tags
        return {key: value for key, value in tags.items() if key.startswith("gate.")}

    assert verdicts("tiny-sft") == {"gate.learned": "pass", "gate.status": "passed"}
    assert verdicts("tiny-reward-model") == {"gate.measured": "pass", "gate.status": "passed"}
    assert verdicts("tiny-policy") == verdicts("tiny-value") == {"gate.kl-budget": "pass", "gate.status": "passed"}
    assert verdicts("tiny-base") == verdicts("tiny-judge") == {}


@pytest.mark.parametrize(
    ("stage", "names"),
    [
        ("reward-model", {"delta_histogram", "reliability"}),
        ("judge", {"delta_histogram", "reliability"}),
        ("policy", {"reward_against_drift", "diversity_by_update", "drift_per_update"}),
    ],
)
def test_figures_are_kept_with_the_runs(
    client: MlflowClient, runs: dict[str, Run], stage: str, names: set[str]
) -> None:
    found = files(client, runs[stage], "figures")
    assert set(found) == {f"figures/{name}.png" for name in names}
    assert all(size > 5000 for size in found.values())


def test_summary_and_verdicts_are_kept_with_the_ladder(
    client: MlflowClient, runs: dict[str, Run], climbed: CompletedProcess[str], tmp_path: Path
) -> None:
    ladder = runs["ladder"]
    assert {"report.html", "summary.txt", "summary.html", "gold.json", "config.json"} <= set(files(client, ladder))
    text = content(client, ladder, "summary.txt", tmp_path)
    assert "trained base, sft, reward-model, judge, policy" in text
    assert text.splitlines()[-3:] == climbed.stdout.splitlines()[-3:]
    judged = ("data", "sft", "reward-model", "policy")
    assert set(files(client, ladder, "gates")) == {f"gates/{name}.json" for name in judged}
    on_data = json.loads(content(client, ladder, "gates/data.json", tmp_path))["verdicts"]
    assert [verdict["status"] for verdict in on_data] == ["pass", "pass", "pass"]
    (verdict,) = json.loads(content(client, ladder, "gates/reward-model.json", tmp_path))["verdicts"]
    assert verdict["gate"] == "measured" and verdict["status"] == "pass" and verdict["lower"] > verdict["threshold"]


READ_PREFECT = """
import json
from flows.deploy.prefect_server import start_server
start_server()
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, FlowRunFilter
with get_client(sync_client=True) as client:
    tables = {found.key: json.loads(found.data) for found in client.read_artifacts() if found.type == "table"}
    flows = {client.read_flow(found.flow_id).name: found.state.type.value for found in client.read_flow_runs()}
print(json.dumps({"tables": tables, "flows": flows}))
"""


def test_prefect_has_a_table_of_verdicts_for_each_gated_stage(climbed: CompletedProcess[str], home: Path) -> None:
    environment = os.environ | {"PREFECT_HOME": str(home / "prefect"), "PREFECT_LOGGING_LEVEL": "CRITICAL"}
    done = run_rlhf(environment=environment, code=READ_PREFECT)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    gates = {
        key: [(row["gate"], row["status"]) for row in table]
        for key, table in seen["tables"].items()
        if key.startswith("gates-")
    }
    assert gates == {
        "gates-data": [("prompts-differ", "pass"), ("prompts-known", "pass"), ("sources-agree", "pass")],
        "gates-sft": [("learned", "pass")],
        "gates-reward-model": [("measured", "pass")],
        "gates-policy": [("kl-budget", "pass")],
    }
    assert {row["suite"] for row in seen["tables"]["data-suites"]} == {"demonstrations", "preferences", "prompts"}
    assert seen["flows"] == dict.fromkeys(("rlhf-ladder", "ingest", *STAGES), "COMPLETED")


BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("rlhf_core", "flows", "data_contracts"):
            raise AssertionError(f"{name} was imported")
sys.meta_path.insert(0, Blocker())
"""
LOADED = """
import json
codes, *folders = sys.argv[1:]
for code, folder in zip(json.loads(codes), folders, strict=True):
    exec(code, {"folder": folder})
"""
SCORE = """
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
tokenizer = AutoTokenizer.from_pretrained(folder)
talk = [{"role": "user", "content": "how do i mend a kettle ?"}, {"role": "assistant", "content": "check the kettle ."}]
with torch.no_grad():
    logits = model(**tokenizer.apply_chat_template(talk, return_tensors="pt", return_dict=True)).logits
assert logits.shape == (1, 1) and logits.isfinite().all(), logits
print(getattr(model.config, "reward_temperature", None), float(logits))
"""
GENERATE = """
from transformers import AutoModelForCausalLM, AutoTokenizer
model, tokenizer = (kind.from_pretrained(folder) for kind in (AutoModelForCausalLM, AutoTokenizer))
talk = [{"role": "user", "content": "how do i mend a kettle ?"}]
given = tokenizer.apply_chat_template(talk, add_generation_prompt=True, return_tensors="pt", return_dict=True)
made = model.generate(**given, max_new_tokens=8, min_new_tokens=4, do_sample=False)
print(tokenizer.decode(made[0, given["input_ids"].shape[1]:], skip_special_tokens=True).strip().replace("\\n", " "))
"""


def test_mlflow_s_page_of_a_model_has_its_figures_its_data_and_its_version(client: MlflowClient) -> None:
    model = client.get_logged_model(model_id(client, "tiny-reward-model/1"))
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "tiny-reward-model", "version": "1"}]
    figures = {found.key: (found.value, found.dataset_name) for found in model.metrics}
    assert figures["final/agreement"][1] == "preferences" and 0 < figures["final/agreement"][0] < 1


SCORERS = ("tiny-reward-model", "tiny-judge", "tiny-value")
SPEAKERS = ("tiny-base", "tiny-sft", "tiny-policy")


@pytest.fixture(scope="module")
def told(client: MlflowClient, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a process that cannot import this project has of every model."""
    names = (*SCORERS, *SPEAKERS)
    places = [client.get_logged_model(model_id(client, f"{name}/1")).artifact_location for name in names]
    folders = [place.removeprefix("file://") for place in places]
    command = [sys.executable, "-I", "-c", f"{BLOCKER}{LOADED}", json.dumps([SCORE] * 3 + [GENERATE] * 3), *folders]
    folder = tmp_path_factory.mktemp("elsewhere")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return dict(zip(names, done.stdout.splitlines(), strict=True))


@pytest.mark.parametrize("name", SCORERS)
def test_models_that_score_load_without_this_project(told: dict[str, str], name: str) -> None:
    temperature, score = told[name].split()
    assert float(score)
    if name != "tiny-value":
        assert float(temperature) > 0


@pytest.mark.parametrize("name", SPEAKERS)
def test_models_that_speak_load_without_this_project(told: dict[str, str], name: str) -> None:
    assert told[name].strip()
