"""Five cases of the bench, climbed for real on a ladder too small to learn much: what breaks it is still caught."""

from collections.abc import Mapping

import pytest

from benchmarks.climbs.recipe import Recipe
from benchmarks.gate_bench.__main__ import bench
from benchmarks.gate_bench.cases import CASES
from benchmarks.gate_bench.outcome import Outcome
from rlhf_core.gates import DEFAULT_POLICY_GATES, DEFAULT_REWARD_MODEL_GATES, DEFAULT_SFT_GATES

TINY = Recipe().having(
    {
        "world": {"demonstrations": 700, "preference_prompts": 700, "prompts": 400},
        "base": {"width": 64, "layers": 2, "steps": 150, "documents": 6000},
        "sft.evaluation_prompts": 100,
        "policy": {"method": "ppo", "updates": 2, "rollout_size": 32, "evaluation_prompts": 20, "evaluate_every": 2},
    }
)
NAMES = ("seed 2", "SFT without end token", "all labels flipped", "stale reference", "reward of the wrong sign")
GATES = {"sft": DEFAULT_SFT_GATES, "reward_model": DEFAULT_REWARD_MODEL_GATES, "policy": DEFAULT_POLICY_GATES}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Outcome]:
    cases = [case for case in CASES if case.name in NAMES]
    return {one.name: one for one in bench(cases, TINY, tmp_path_factory.mktemp("bench"), workers=1)}
