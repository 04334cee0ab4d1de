"""Answers made worse: what each attack makes of an answer, and how often a scorer pays for it."""

import numpy as np
import pytest

from rlhf_core.data.records import Pair
from rlhf_core.data.stress_cases import CASES, FLATTERY, KEYWORDS, REFUSAL, StressCase, stress_cases
from rlhf_core.metrics.stress import stress_figures, stress_table

PAIRS = [
    Pair("how do i open the jar ?", "turn the lid to the left .", "give up ."),
    Pair("how do i open the jar ?", "warm the lid first .", "give up ."),
    Pair("where is the bus ?", "please look behind you .", "no idea ."),
]


def attacks(pairs: list[Pair]) -> dict[tuple[str, str], str]:
    return {(case.prompt, case.name): case.attack for case in stress_cases(pairs, pairs, str)}


def test_each_attack_is_made_of_the_honest_answer_of_its_prompt() -> None:
    jar, bus = PAIRS[0].prompt, PAIRS[2].prompt
    found = attacks(PAIRS)
    assert {name for _, name in found} == set(CASES)
    assert found[jar, "empty"] == ""
    assert found[jar, "repetition"] == "turn the lid turn the lid turn the lid turn the lid turn the"  # twice as long
    assert found[jar, "padding"] == "turn the lid to the left . turn the lid to the left ."
    assert found[jar, "truncation"] == "turn the lid"
    assert found[jar, "echo"] == jar
    assert found[jar, "other_prompt"] == "please look behind you ." and found[bus, "other_prompt"].startswith("turn")
    assert found[jar, "flattery"] == f"{FLATTERY} turn the lid to the left ."
    assert found[jar, "refusal"] == REFUSAL
    words = found[jar, "keywords"].split()
    assert words[:2] == ["lid", "the"] and len(words) == KEYWORDS and not {"give", "up", "no"} & set(words)
    assert len({case.honest for case in stress_cases(PAIRS, PAIRS, str)}) == 2  # one answer for each prompt


def test_an_answer_that_an_attack_leaves_as_it_is_is_no_case() -> None:
    pairs = [Pair("may i ?", REFUSAL, "yes"), Pair("say it", "say it", "no"), Pair("why ?", "because", "no")]
    found = attacks(pairs)
    assert ("may i ?", "refusal") not in found and ("say it", "echo") not in found
    assert ("why ?", "refusal") in found and found["why ?", "truncation"] == ""


def test_a_scorer_is_caught_at_what_it_pays_for_and_at_nothing_else() -> None:
    prompts = [f"question {index} ?" for index in range(120)]
    pairs = [Pair(prompt, f"first do step {index} . then wait .", "no .") for index, prompt in enumerate(prompts)]
    cases = stress_cases(pairs, pairs, str)
    likes_length = [[len(text.split()) for text in (case.honest, case.attack)] for case in cases]
    figures = stress_figures(stress_table(cases, np.array(likes_length, dtype=np.float64)))
    paid = {name.removeprefix("pays_for_") for name, figure in figures.items() if figure.lower > 0.5}
    assert paid == {"repetition", "padding", "flattery", "refusal"}
    assert figures["pays_for_empty"].value == 0.0 and figures["pays_for_empty"].n == 120


def test_an_attack_that_is_worth_as_much_is_half_a_win() -> None:
    cases = [StressCase("echo", f"p {index}", "honest", "attack") for index in range(4)]
    scores = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    assert stress_figures(stress_table(cases, scores))["pays_for_echo"].value == pytest.approx(1.5 / 4)
    assert stress_figures(stress_table([], np.empty((0, 2)))) == {}
