"""Five cases of the bench, climbed for real on a ladder too small to learn much: what breaks it is still caught."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from benchmarks.common.climbs.recipe import Recipe
from benchmarks.quality.gate_bench.__main__ import bench, read, write
from benchmarks.quality.gate_bench.cases import CASES
from benchmarks.quality.gate_bench.outcome import Outcome, caught, worth
from rlhf_core.gates.defaults import DEFAULT_REWARD_MODEL_GATES, DEFAULT_SFT_GATES
from rlhf_core.gates.gate import Gate, judge

TINY = Recipe().having(
    {
        "world.demonstrations": 700,
        "world.preference_prompts": 2900,
        "world.prompts": 300,
        "base": {"width": 64, "layers": 2, "steps": 120, "batch_size": 24, "documents": 4000},
        "sft.evaluation_prompts": 100,
        "policy": {
            **{"method": "ppo", "updates": 1, "rollout_size": 16, "minibatch_size": 16},
            **{"evaluation_prompts": 16, "evaluate_every": 1},
        },
    }
)
SOUND = "seed 2"
NAMES = (SOUND, "SFT without end token", "all labels flipped", "head lost on loading", "stale reference")
GATES: dict[str, tuple[Gate, ...]] = {"sft": DEFAULT_SFT_GATES, "reward_model": DEFAULT_REWARD_MODEL_GATES}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def found(storage: Path) -> Mapping[str, Outcome]:
    cases = [case for case in CASES if case.name in NAMES]
    return {one.name: one for one in bench(cases, TINY, storage, workers=1)}


def says(outcome: Outcome, stage: str, gate: str) -> str:
    verdicts = {verdict.gate: verdict.status for verdict in judge(GATES[stage], outcome.estimates[stage])}
    return verdicts[gate]


@pytest.mark.parametrize(
    ("name", "stage", "gate"),
    [
        ("SFT without end token", "sft", "ends"),
        ("all labels flipped", "reward_model", "demonstrations-above-rejected"),
    ],
)
def test_a_gate_fails_for_the_mistake_and_passes_without_it(
    name: str, stage: str, gate: str, found: Mapping[str, Outcome]
) -> None:
    assert says(found[SOUND], stage, gate) == "pass"
    assert says(found[name], stage, gate) == "fail"


def test_a_stage_that_refuses_is_climbed_again_so_that_its_worth_is_known(found: Mapping[str, Outcome]) -> None:
    stale = found["stale reference"]
    assert stale.stopped_itself is not None
    assert stale.stopped_itself[0] == "policy"
    assert "KL to the reference is 0" in stale.stopped_itself[1]
    assert caught(stale, {}).by == ("SelfTestError",)
    assert worth(stale, found) is not None


def test_a_mistake_on_the_way_to_ppo_leaves_what_came_before_alone(found: Mapping[str, Outcome]) -> None:
    lost, sound = found["head lost on loading"], found[SOUND]
    assert lost.estimates["reward_model"] == sound.estimates["reward_model"]
    assert lost.sft_gold == sound.sft_gold
    correlations = [one.estimates["policy"]["judge_correlation"].value for one in (lost, sound)]
    assert correlations[0] < correlations[1]


def test_results_come_back_from_their_file_and_a_second_run_trains_nothing(
    storage: Path, found: Mapping[str, Outcome]
) -> None:
    write(storage / "results.json", list(found.values()), workers=1)
    assert read(storage / "results.json") == list(found.values())
    ends = {path: path.stat().st_mtime_ns for path in storage.glob("stages/*/result.json")}
    again = list(bench([case for case in CASES if case.name == SOUND], TINY, storage, workers=1))
    assert again[0].policy_gold == found[SOUND].policy_gold
    assert {path: path.stat().st_mtime_ns for path in storage.glob("stages/*/result.json")} == ends
