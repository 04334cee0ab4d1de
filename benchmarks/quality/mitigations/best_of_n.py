"""Best-of-n with the truth beside it: what choosing among answers of the SFT model is worth, at every n."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.common.climbs.data import digests
from benchmarks.common.climbs.recipe import Climb
from benchmarks.common.climbs.stages import Storage, keys_of
from benchmarks.quality.mitigations.record import Record, bounds, rounded
from rlhf_core.embedded_world.gold import gold_reward
from rlhf_core.evaluators.policy import PolicyEvaluator, halves
from rlhf_core.metrics.best_of_n import best_of, best_of_n_kl
from rlhf_core.metrics.policy import Answers
from rlhf_core.metrics.win_rate import paired_gain

MOST = 16
"""Answers drawn for each prompt."""
STAGES = ("base", "sft", "reward_model", "judge")
NAME = "best of n"


def measure_best_of_n(climb: Climb, folder: Path, *, most: int = MOST) -> Record:
    """Draw answers of the SFT model to the prompts that measure policies, and take the best by the reward model.

    Args:
        climb: whose models and prompts are meant; those that are not there yet are trained.
        folder: of data and stages.
        most: answers drawn for each prompt.

    Returns:
        `by_n`: for n of 1 to `most` the KL by the formula and the gains over one answer of the SFT model in gold, judge
        and reward model, paired by prompt, averaged over all choices of n; `seconds` of process time for all draws with
        their scores.
    """
    storage = Storage(folder)
    data = storage.data(climb)
    keys = keys_of(climb, digests(data))
    for stage in STAGES:
        storage.reach(stage, climb, keys)
    models = {name: storage.model(name, keys[name]) for name in ("sft", "reward_model", "judge")}
    prompts = halves(climb.recipe.policy, data.prompts["test"])[1]
    examiner = PolicyEvaluator(climb.recipe.policy, **models, seed=climb.recipe.seed)
    started = time.process_time()
    draws = [examiner.baseline(prompts, draw=draw) for draw in range(most)]
    spent = time.process_time() - started
    return {
        "arm": NAME,
        "seed": climb.recipe.seed,
        "error": "",
        "seconds": {"draws": rounded(spent)},
        "answers": most * len(prompts),
        "by_n": worth_by_n(prompts, draws),
    }


def worth_by_n(prompts: Sequence[str], draws: Sequence[Answers]) -> list[Record]:
    """What the best of n is worth for every n up to the number of draws.

    Args:
        prompts: P prompts of the embedded world.
        draws: N answers of the SFT model to each of them, the first being those that gains are over.
    """
    values = {
        "gold": np.stack([gold_of(prompts, draw) for draw in draws], axis=1),
        "judge": np.stack([draw.judge for draw in draws], axis=1),
        "reward": np.stack([draw.reward for draw in draws], axis=1),
    }
    return [
        {"n": n, "kl": rounded(best_of_n_kl(n))}
        | {
            f"{name}_gain": bounds(paired_gain(best_of(n, values["reward"], worth), worth[:, 0]))
            for name, worth in values.items()
        }
        for n in range(1, len(draws) + 1)
    ]


def gold_of(prompts: Sequence[str], answers: Answers) -> NDArray[np.float64]:
    """Gold reward of each answer, shape ``[P]``."""
    rows = zip(prompts, answers.texts, answers.finished, strict=True)
    return np.array([gold_reward(prompt, text, bool(finished)) for prompt, text, finished in rows])
