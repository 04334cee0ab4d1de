"""What a climb does where there are results already, where a gate fails, and where gates only advise."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from flows.lineage.archive import Archive
from flows.lineage.finding import DOUBTS, AuditFinding
from flows.lineage.recomputation import Recomputation
from flows.registry.names import champion_evidence
from tests.conftest import TINY

pytestmark = pytest.mark.slow

Climb = Callable[..., CompletedProcess[str]]
Client = Callable[[Path], MlflowClient]
Runs = Callable[[Path, str], list[Run]]

MODELS = ("tiny-base", "tiny-sft", "tiny-reward-model", "tiny-judge", "tiny-policy", "tiny-value")
IMPOSSIBLE = {"threshold": 1.5, "failure": "no better than an oracle"}  # no agreement exceeds 1


def started(done: CompletedProcess[str]) -> list[str]:
    return [line.partition(":")[0] for line in done.stderr.splitlines() if line.endswith(": started")]


def versions(client: MlflowClient) -> dict[str, list[int]]:
    return {
        model.name: sorted(int(found.version) for found in client.search_model_versions(f"name='{model.name}'"))
        for model in client.search_registered_models()
    }


def alias(client: MlflowClient, name: str) -> str | None:
    found = client.get_registered_model(name).aliases.get("challenger")
    return None if found is None else str(found)


def verdict(client: MlflowClient, run: Run, folder: Path) -> dict[str, Any]:
    path = client.download_artifacts(run.info.run_id, "gates/reward-model.json", str(folder))
    (found,) = json.loads(Path(path).read_text())["verdicts"]
    return dict(found)


def with_gate(folder: Path, tiny: Path, **changes: Any) -> Path:
    """A copy of the tiny configuration with another gate on the reward model."""
    document = yaml.safe_load(tiny.read_text())
    document["gates"]["reward_model"][0] |= changes
    path = folder / "gated.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.fixture(scope="session")
def tiny() -> Path:
    return TINY


def test_a_second_climb_finds_nothing_to_retrain(
    climb: Climb, client_of: Client, runs_of: Runs, copied_home: Path
) -> None:
    (first,) = runs_of(copied_home, "ladder")
    again = climb(copied_home)
    assert again.returncode == 0, again.stderr
    assert "nothing to retrain: data (demonstrations " in again.stdout
    assert started(again) == []
    _, second = runs_of(copied_home, "ladder")
    outcome = second.data.tags["rlhf.outcome"]
    assert f"are those of run {first.info.run_id}" in outcome and first.data.tags["rlhf.code"] in outcome
    assert versions(client_of(copied_home)) == {name: [1] for name in MODELS}
    assert [run.info.status for run in runs_of(copied_home, "ladder")] == ["FINISHED", "FINISHED"]
    assert len(runs_of(copied_home, "policy")) == 1


def test_a_deleted_version_is_made_again_the_same_so_that_what_depends_on_it_stands(
    climb: Climb, client_of: Client, copied_home: Path
) -> None:
    client = client_of(copied_home)
    old = client.get_model_version("tiny-reward-model", "1").tags["rlhf.digest"]
    client.delete_model_version("tiny-reward-model", "1")
    again = climb(copied_home)
    assert again.returncode == 0, again.stderr
    assert started(again) == ["reward-model"]
    assert client.get_model_version("tiny-reward-model", "2").tags["rlhf.digest"] == old
    assert versions(client) == {name: [1] for name in MODELS} | {"tiny-reward-model": [2]}
    assert alias(client, "tiny-reward-model") == "2"


def test_a_damaged_version_is_made_again_though_nothing_else_is_new(
    climb: Climb, client_of: Client, storage: Path
) -> None:
    first = climb(storage)
    assert first.returncode == 0, first.stderr
    client = client_of(storage)
    source = str(client.get_model_version("tiny-policy", "1").source).removeprefix("models:/")
    folder = Path(client.get_logged_model(source).artifact_location.removeprefix("file://"))
    (folder / "config.json").write_text("{}")
    again = climb(storage)
    assert again.returncode == 0, again.stderr
    assert started(again) == ["policy"]
    assert versions(client)["tiny-policy"] == [1, 2]


def test_a_climb_takes_the_alias_back_from_a_later_one(climb: Climb, client_of: Client, copied_home: Path) -> None:
    assert climb(copied_home, "policy.beta=0.2").returncode == 0
    client = client_of(copied_home)
    assert alias(client, "tiny-policy") == "2"
    again = climb(copied_home)
    assert again.returncode == 0 and "nothing to retrain: every stage was reused" in again.stdout
    assert alias(client, "tiny-policy") == "1"


def test_a_version_is_held_against_the_champion_that_it_would_replace(
    climb: Climb, client_of: Client, runs_of: Runs, copied_home: Path, tiny: Path, tmp_path: Path
) -> None:
    client = client_of(copied_home)
    for name in ("tiny-sft", "tiny-policy"):
        client.set_registered_model_alias(name, "champion", "1")
    document = yaml.safe_load(tiny.read_text())
    (gate,) = (dict(each) for each in document["gates"]["policy"])
    asked = {"policy": "judge_win_rate", "sft": "loss_nats", "reward_model": "agreement"}
    for stage, figure in asked.items():
        change = {"metric": f"{figure}_over_champion", "when_missing": "pass", "threshold": 2.0, "direction": "below"}
        document["gates"][stage] = [gate | change | {"name": "champion"}]
    config = tmp_path / "champion.yaml"
    config.write_text(yaml.safe_dump(document))
    done = climb(copied_home, "policy.beta=0.2", config=config)
    assert done.returncode == 0, done.stderr
    assert "sft" not in started(done) and "tiny-policy/2 against champion tiny-policy/1, on " in done.stdout
    _, ladder = runs_of(copied_home, "ladder")

    def judged(stage: str) -> str:
        path = client.download_artifacts(ladder.info.run_id, f"gates/{stage}.json", str(tmp_path))
        return str(json.loads(Path(path).read_text())["verdicts"][0]["explanation"])

    assert judged("sft") == "loss_nats_over_champion: this is the champion, which this gate allows"
    assert judged("reward-model") == (
        "agreement_over_champion: there is no champion to replace, which this gate allows"
    )
    kept = client.download_artifacts(ladder.info.run_id, "champion/tiny-policy.json", str(tmp_path))
    between = json.loads(Path(kept).read_text())["figures"]["judge_win_rate"]["between"]
    assert judged("policy") == (
        f"judge_win_rate_over_champion: upper bound {between[2]:.4g} is below 2 (n={between[3]})"
    )
    rests_on_the_champions_answers(Archive(client), ladder)


def rests_on_the_champions_answers(archive: Archive, ladder: Run) -> None:
    """The rows of the comparison are kept, and an audit computes its figures and the verdict again."""
    name = champion_evidence("tiny-policy", "answers")
    with archive.file(ladder.info.run_id, f"evidence/{name}.parquet") as path:
        assert path is not None
        rows = pq.read_table(path)
    by = rows["answered_by"].to_pylist()
    assert set(by) == {"challenger", "champion"} and by.count("champion") == len(set(rows["prompt"].to_pylist()))
    assert rows["judge_score"].null_count == rows["source"].null_count == rows["tokens"].null_count == 0

    def found() -> dict[tuple[str, str], AuditFinding]:
        version = archive.find("tiny-policy/2")
        training = archive.training(version.run_id)
        assert training is not None
        return {each[1:3]: each for each in Recomputation(archive).findings(version, training)}

    whole = found()
    assert not any(status in DOUBTS for _, status in whole)
    assert whole["champion", "holds"].detail.startswith("7 of 7 figures beside the champion follow from ")
    path = Path(ladder.info.artifact_uri.removeprefix("file://")) / "champion" / "tiny-policy.json"
    comparison = json.loads(path.read_text())
    comparison["figures"]["judge_win_rate"]["between"][0] = 1.0
    path.write_text(json.dumps(comparison))
    figure = found()["figure judge_win_rate_over_champion", "differs"]
    assert ladder.info.run_id in figure.detail and "recorded between 1.0000 [" in figure.detail


def test_a_stage_that_takes_too_long_is_stopped_and_the_climb_says_so(
    climb: Climb, client_of: Client, runs_of: Runs, copied_home: Path
) -> None:
    late = climb(copied_home, "policy.beta=0.2", "compute.time_outs.policy=0.2")
    assert late.returncode == 1, late.stderr
    _, ladder = runs_of(copied_home, "ladder")
    assert ladder.info.status == "FAILED"
    assert ladder.data.tags["rlhf.outcome"] == (
        "interrupted by TaskRunTimeoutError: policy took longer than the 0.2 s that `compute.time_outs` gives it; "
        "run again to go on"
    )
    assert len(runs_of(copied_home, "policy")) == 2  # it was not tried again
    assert versions(client_of(copied_home))["tiny-policy"] == [1]


def test_a_climb_whose_time_is_over_says_so_and_the_next_one_goes_on(
    climb: Climb, runs_of: Runs, copied_home: Path
) -> None:
    late = climb(copied_home, "policy.beta=0.2", "compute.max_hours=1e-9")
    assert late.returncode == 5, late.stderr
    assert "to train: policy; reused: base, sft, reward-model, judge; last time policy " in late.stderr
    assert "more than compute.max_hours or max_cost gives" in late.stderr
    assert "out of time" in late.stdout and "policy was not begun" in late.stdout
    _, ladder = runs_of(copied_home, "ladder")
    assert ladder.info.status == "KILLED" and len(runs_of(copied_home, "policy")) == 1


def test_a_stage_with_another_configuration_is_trained_again_with_all_that_depends_on_it(
    climb: Climb, client_of: Client, copied_home: Path
) -> None:
    again = climb(copied_home, "reward_model.epochs=2")
    assert again.returncode == 0, again.stderr
    assert started(again) == ["reward-model", "policy"]
    assert "to train: reward-model, policy; reused: base, sft, judge; last time reward-model " in again.stderr
    client = client_of(copied_home)
    made = ("tiny-reward-model", "tiny-policy", "tiny-value")
    assert versions(client) == {name: [1, 2] if name in made else [1] for name in MODELS}
    assert client.get_model_version("tiny-policy", "2").tags["parent.reward-model"] == "tiny-reward-model/2"
    assert [alias(client, name) for name in ("tiny-sft", *made)] == ["1", "2", "2", "2"]


def test_a_changed_gate_judges_again_and_an_outside_measure_measures_and_nothing_is_trained(
    climb: Climb, client_of: Client, runs_of: Runs, copied_home: Path, tiny: Path, tmp_path: Path
) -> None:
    measure = "outside_measures=[{name: words, function: tests.flows.outside:words}]"
    again = climb(copied_home, measure, config=with_gate(tmp_path, tiny, name="other-name", threshold=0.01))
    assert again.returncode == 0, again.stderr
    assert started(again) == [] and "nothing to retrain" in again.stdout
    client = client_of(copied_home)
    assert versions(client) == {name: [1] for name in MODELS}
    assert client.get_model_version("tiny-reward-model", "1").tags["gate.other-name"] == "pass"
    first, second = runs_of(copied_home, "ladder")
    (tmp_path / "first").mkdir()
    assert verdict(client, first, tmp_path / "first")["threshold"] == 0.0
    assert verdict(client, second, tmp_path)["threshold"] == 0.01
    kept = client.download_artifacts(second.info.run_id, "outside_measures.json", str(tmp_path))
    assert json.loads(Path(kept).read_text())["policy_words"]["value"] == second.data.metrics["final/policy_words"] > 0
    assert "final/policy_words_gain" in second.data.metrics and "outside measures on" in again.stdout


def test_a_version_that_fails_gates_made_stricter_loses_the_alias(
    climb: Climb, client_of: Client, copied_home: Path, tiny: Path, tmp_path: Path
) -> None:
    again = climb(copied_home, config=with_gate(tmp_path, tiny, **IMPOSSIBLE))
    assert again.returncode == 3, again.stderr
    client = client_of(copied_home)
    assert client.get_model_version("tiny-reward-model", "1").tags["gate.status"] == "failed"
    assert alias(client, "tiny-reward-model") is None
    assert alias(client, "tiny-sft") == "1"  # it passed before and does so now


@pytest.fixture(scope="module")
def blocked_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blocked")


@pytest.fixture(scope="module")
def blocked(climb: Climb, blocked_home: Path, tiny: Path) -> CompletedProcess[str]:
    return climb(blocked_home / "storage", config=with_gate(blocked_home, tiny, **IMPOSSIBLE))


def test_a_failed_gate_ends_the_climb_with_its_name_and_its_reason(blocked: CompletedProcess[str]) -> None:
    assert blocked.returncode == 3, blocked.stderr
    (line,) = [line for line in blocked.stdout.splitlines() if "stopped by gate" in line]
    assert "stopped by gate measured because agreement: lower bound" in line
    assert "is not above 1.5" in line and "no better than an oracle" in line
    assert "no alias was set" in blocked.stdout
    assert started(blocked) == ["base", "sft", "reward-model"]
    assert "Traceback" not in blocked.stdout + blocked.stderr


def test_what_a_failed_gate_judged_stays_registered_and_marked(
    blocked: CompletedProcess[str], blocked_home: Path, client_of: Client, runs_of: Runs, tmp_path: Path
) -> None:
    client = client_of(blocked_home / "storage")
    assert versions(client) == {name: [1] for name in ("tiny-base", "tiny-sft", "tiny-reward-model")}
    tags = client.get_model_version("tiny-reward-model", "1").tags
    assert tags["gate.status"] == "failed" and tags["gate.measured"] == "fail"
    assert client.get_model_version("tiny-sft", "1").tags["gate.status"] == "passed"
    assert [alias(client, name) for name in ("tiny-base", "tiny-sft", "tiny-reward-model")] == [None, None, None]
    (ladder,) = runs_of(blocked_home / "storage", "ladder")
    assert ladder.info.status == "FAILED"
    assert ladder.data.tags["rlhf.outcome"].startswith("stopped by gate measured because")
    assert verdict(client, ladder, tmp_path)["status"] == "fail"


def test_a_gate_with_too_few_samples_stops_the_climb_unless_the_configuration_lets_it_pass(
    climb: Climb, client_of: Client, copied_home: Path, tiny: Path, tmp_path: Path
) -> None:
    config = with_gate(tmp_path, tiny, min_samples=1_000_000)
    stopped = climb(copied_home, config=config)
    assert stopped.returncode == 3, stopped.stderr
    assert "stopped by gate measured because" in stopped.stdout
    assert alias(client_of(copied_home), "tiny-reward-model") is None
    passed = climb(copied_home, "gates.abstain_blocks=false", config=config)
    assert passed.returncode == 0, passed.stderr
    assert " abstain " in passed.stdout
    assert alias(client_of(copied_home), "tiny-reward-model") == "1"


def test_an_advisory_gate_fails_and_the_climb_goes_on_without_an_alias(
    blocked: CompletedProcess[str], blocked_home: Path, climb: Climb, client_of: Client, runs_of: Runs
) -> None:
    storage = blocked_home / "storage"
    done = climb(storage, "gates.mode=advisory", config=blocked_home / "gated.yaml")
    assert done.returncode == 0, done.stderr
    assert started(done) == ["judge", "policy"]
    assert "no alias was set: gates.mode is advisory, which sets none" in done.stdout
    client = client_of(storage)
    assert versions(client) == {name: [1] for name in MODELS}
    assert {alias(client, name) for name in MODELS} == {None}
    assert client.get_model_version("tiny-reward-model", "1").tags["gate.status"] == "failed"
    assert client.get_model_version("tiny-policy", "1").tags["gate.status"] == "passed"
    assert [run.info.status for run in runs_of(storage, "ladder")] == ["FAILED", "FINISHED"]
