"""Which held-out rows tune a model, and which judge it."""

import pytest

from rlhf_core.config.ppo import PPOConfig
from rlhf_core.data.records import Pair
from rlhf_core.evaluators.policy import halves as prompt_halves
from rlhf_core.evaluators.reward_model import halves

PAIRS = [Pair(prompt, "yes", "no") for prompt in ("a", "a", "b", "c", "b", "d")]


def prompts(pairs: list[Pair]) -> list[str]:
    return [pair.prompt for pair in pairs]


def test_every_second_prompt_tunes_with_all_its_pairs_unless_others_are_named() -> None:
    assert tuple(map(prompts, halves(PAIRS))) == (["a", "a", "c"], ["b", "b", "d"])
    assert tuple(map(prompts, halves(PAIRS, {"b", "gone"}))) == (["b", "b"], ["a", "a", "c", "d"])
    assert tuple(map(prompts, halves(PAIRS, set()))) == ([], ["a", "a", "b", "c", "b", "d"])


def test_watched_prompts_do_not_judge_a_policy() -> None:
    config = PPOConfig(evaluation_prompts=2)
    assert prompt_halves(config, ["a", "b", "c", "d", "e", "f"]) == (["a", "c"], ["b", "d"])
    assert prompt_halves(config, ["a", "b", "c", "d", "e", "f"], {"b", "c"}) == (["b", "c"], ["a", "d"])
    for held_out, tuned in ((["a", "b", "c"], None), (["a", "b", "c", "d"], {"a", "b", "c"})):
        with pytest.raises(ValueError, match="cannot measure a policy"):
            prompt_halves(config, held_out, tuned)
