"""Which held-out rows tune a model, and which judge it."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_core.config.ppo import PPOConfig
from rlhf_core.data.records import FEW, Pair, tuning_half
from rlhf_core.evaluators.policy import halves as prompt_halves
from rlhf_core.evaluators.reward_model import halves

PAIRS = [Pair(prompt, "yes", "no") for prompt in ("a", "a", "b", "c", "b", "d")]


def prompts(pairs: list[Pair]) -> list[str]:
    return [pair.prompt for pair in pairs]


def test_one_half_of_the_prompts_tunes_with_all_its_pairs_unless_others_are_named() -> None:
    assert tuple(map(prompts, halves(PAIRS))) == (["a", "a", "c"], ["b", "b", "d"])
    assert tuple(map(prompts, halves(PAIRS, {"b", "gone"}))) == (["b", "b"], ["a", "a", "c", "d"])
    assert tuple(map(prompts, halves(PAIRS, set()))) == ([], ["a", "a", "b", "c", "b", "d"])


@settings(max_examples=20, deadline=None)
@given(st.sets(st.text(min_size=1), min_size=FEW, max_size=3 * FEW), st.randoms(use_true_random=False))
def test_a_prompt_stays_on_its_side_while_the_table_grows(texts: set[str], chance: random.Random) -> None:
    before = sorted(texts)
    after = chance.sample([*before, *(f"new {number}" for number in range(FEW))], len(before) + FEW)
    assert tuning_half(after) & set(before) == tuning_half(before)


def test_both_halves_are_about_as_large_and_nothing_but_the_prompt_decides() -> None:
    many = [f"how do I mend {thing}?" for thing in range(10_000)]
    assert abs(len(tuning_half(many)) - 5000) < 150
    assert tuning_half(many) == tuning_half([*many, *many])
    assert len(tuning_half(many[: FEW - 1])) == FEW // 2 and len(tuning_half(["a"])) == 1


def test_watched_prompts_do_not_judge_a_policy() -> None:
    config = PPOConfig(evaluation_prompts=2)
    assert prompt_halves(config, ["a", "b", "c", "d", "e", "f"]) == (["a", "c"], ["b", "d"])
    assert prompt_halves(config, ["a", "b", "c", "d", "e", "f"], {"b", "c"}) == (["b", "c"], ["a", "d"])
    for held_out, tuned in ((["a", "b", "c"], None), (["a", "b", "c", "d"], {"a", "b", "c"})):
        with pytest.raises(ValueError, match="cannot measure a policy"):
            prompt_halves(config, held_out, tuned)
