"""The study of mitigations: what is compared with what, what is kept of a climb, and all of it once."""

import json
import math
import pickle
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.common.climbs.data import draw
from benchmarks.common.climbs.pool import Climbed
from benchmarks.common.climbs.recipe import Recipe
from benchmarks.common.climbs.stages import Kept
from benchmarks.quality.mitigations.__main__ import read, write
from benchmarks.quality.mitigations.arms import ARMS, MONITORED, MONITORS, SEEDS, SINGLE, UNLIMITED, Arm
from benchmarks.quality.mitigations.best_of_n import NAME as BEST_OF_N
from benchmarks.quality.mitigations.best_of_n import worth_by_n
from benchmarks.quality.mitigations.figures import FIGURES
from benchmarks.quality.mitigations.record import result_of
from benchmarks.quality.mitigations.rounds import by_gold
from benchmarks.quality.mitigations.study import measure, pieces
from benchmarks.quality.mitigations.tables import TABLES, by_arm, signed, told
from rlhf_core.data.records import Choice
from rlhf_core.embedded_world.data import WorldConfig, generate
from rlhf_core.embedded_world.gold import gold_reward
from rlhf_core.metrics.estimates import Estimate
from rlhf_core.metrics.policy import Answers

ZERO = Estimate(0.0, 0.0, 0.0, 1)


# Tables


def test_a_table_says_how_many_seeds_reached_a_kl() -> None:
    assert told([1.0, math.nan, 3.0], of=3) == "2.00 [1.00, 3.00], 2 of 3 seeds"
    assert told([1.0, 2.0, 4.0], of=3) == "2.00 [1.00, 4.00]"
    assert told([math.nan], of=1) == "not reached"


def test_a_table_says_on_how_many_seeds_a_difference_is_above_zero() -> None:
    assert signed([1.5, -2.0]) == "-0.25 [-2.00, +1.50], above 0 on 1 of 2"


# The result of a run


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [("stopped after update 12 of 20: it fell; the result is the state after update 8", 2), ("", 3)],
)
def test_the_result_is_the_state_that_the_watch_takes(outcome: str, expected: int) -> None:
    policy = Kept(stage="policy", key="", outcome=outcome)
    points = [{"step": step} for step in (0, 4, 8, 12)]
    assert result_of(Climbed(SINGLE.climb(Recipe(), 1), {"policy": policy}, points)) == expected


# Best-of-n, labels


def test_the_best_of_n_is_the_mean_over_all_choices_of_n() -> None:
    world = generate(WorldConfig(demonstrations=10, preference_prompts=10, prompts=10), seed=3)
    prompts = [row["prompt"] for row in world.preferences[:2]]
    rng = np.random.default_rng(0)
    texts = [[row["chosen"] for row in world.preferences[start : start + 2]] for start in range(4)]
    scores = rng.normal(size=(4, 2, 2))
    draws = [_answers(said, *both) for said, both in zip(texts, scores, strict=True)]
    gold = np.array([[gold_reward(*pair) for pair in zip(prompts, said, strict=True)] for said in texts])
    for n, row in enumerate(worth_by_n(prompts, draws), start=1):
        for name, worth in (("gold", gold), ("reward", scores[:, 0]), ("judge", scores[:, 1])):
            best = [
                [worth[max(chosen, key=lambda draw: scores[draw, 0, prompt]), prompt] for prompt in range(2)]
                for chosen in combinations(range(4), n)
            ]
            expected = (np.mean(best, axis=0) - worth[0]).mean()
            assert row[f"{name}_gain"][0] == pytest.approx(expected, abs=1e-5)


def test_gold_labels_prefer_what_is_worth_more_and_drop_ties() -> None:
    prompt = generate(WorldConfig(demonstrations=10, preference_prompts=10, prompts=10), seed=3).prompts[0]["prompt"]
    worse, better = ". . . .", "hope that helps ."
    assert gold_reward(prompt, worse) < gold_reward(prompt, better)
    found = by_gold([Choice(prompt, worse, better), Choice(prompt, better, better), Choice(prompt, better, worse)])
    assert [(pair.chosen, pair.rejected) for pair in found] == [(better, worse)] * 2


def _answers(texts: list[str], reward: np.ndarray[Any, Any], judge: np.ndarray[Any, Any]) -> Answers:
    nothing = np.zeros(len(texts))
    return Answers(texts, nothing, [True] * len(texts), nothing, nothing, reward, judge, nothing, nothing)


# The arms


def test_every_arm_is_a_climb_of_its_own_that_other_processes_find() -> None:
    made = pieces(Recipe(), SEEDS)
    assert len({piece.key for piece in made}) == len(made) == (len(ARMS) + 2) * len(SEEDS)
    for piece in made:
        assert pickle.loads(pickle.dumps(piece.climb)).recipe == piece.climb.recipe
        assert piece.climb.recipe.seed == piece.seed


def test_a_watch_changes_nothing_but_the_watch() -> None:
    for free, monitored in MONITORS.values():
        one, other = (arm.climb(Recipe(), 1).recipe.model_dump() for arm in (free, monitored))
        watches = ("monitor", "disagreement_limit")
        assert [one["policy"].pop(name) for name in watches] == [None, None]
        assert [other["policy"].pop(name) is not None for name in watches].count(True) == 1
        assert one == other


def test_an_honest_judge_leaves_all_other_pairs_biased() -> None:
    small = Recipe(world=WorldConfig(demonstrations=20, preference_prompts=60, prompts=20))
    climbs = [arm.climb(small, 5) for arm in (SINGLE, MONITORS["honest"][0], MONITORS["biased, the judge's honest"][1])]
    biased, honest = (draw(one.recipe.world, one.recipe.shares, 5).pairs for one in climbs[:2])
    assert climbs[2].change is not None
    mixed = climbs[2].change.apply(draw(climbs[0].recipe.world, small.shares, 5), 5).pairs
    assert mixed == {"train": biased["train"], "judge": honest["judge"], "test": biased["test"]}
    assert biased["judge"] != honest["judge"]
    assert {frozenset(pair[1:3]) for pair in biased["judge"]} == {frozenset(pair[1:3]) for pair in honest["judge"]}


# All of it

TINY = Recipe().having(
    {
        "world": {"demonstrations": 200, "preference_prompts": 100, "prompts": 100},
        "base": {"width": 16, "layers": 1, "heads": 2, "documents": 800, "steps": 20, "batch_size": 16},
        "sft.epochs": 1,
        "sft.evaluation_prompts": 8,
        "policy.updates": 2,
        "policy.rollout_size": 16,
        "policy.minibatch_size": 8,
        "policy.epochs": 1,
        "policy.evaluate_every": 1,
        "policy.evaluation_prompts": 8,
    }
)


@pytest.mark.slow
def test_the_study_is_made_once_and_shown(tmp_path: Path) -> None:
    """Tables and figures of every part have something to show, and a rerun finds all records."""
    short = {"policy.updates": 2, "policy.evaluate_every": 1}
    arms = (Arm(SINGLE.name, UNLIMITED | short), Arm("monitored", MONITORED | short), Arm("PPO"))
    results = tmp_path / "results.json"
    records = list(measure(pieces(TINY, (1,), arms), tmp_path / "stages", workers=1))
    write(results, records, workers=1)
    assert {record["arm"] for record in records} == {*(arm.name for arm in arms), BEST_OF_N, "refreshed"}
    assert not any(record["error"] for record in records)
    assert {piece.key for piece in pieces(TINY, (1,), arms)} == {record["key"] for record in read(results)}
    by = by_arm(read(results))
    free, watched = by[SINGLE.name][1], by["monitored"][1]
    assert [point["gold"] for point in free["curve"]] == [point["gold"] for point in watched["curve"]]
    assert [turn["round"] for turn in by["refreshed"][1]["rounds"]] == [1, 2, 3]
    assert json.loads(results.read_text())["settings"]["seed"] == TINY.seed
    for name, lines in TABLES.items():
        assert any("1" in line for line in lines(by)), name
    for name, drawn in FIGURES.items():
        drawn(by).savefig(tmp_path / f"{name}.png")
