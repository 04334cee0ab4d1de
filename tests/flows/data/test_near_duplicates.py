"""Prompts that are nearly held-out ones: the similarity by hand, and a search that misses none."""

import math
import random
from itertools import pairwise

import numpy as np
import pytest

from flows.data import near_duplicates
from flows.data.near_duplicates import NOMINATING, HeldOutPrompts


def similarity(text: str, *held_out: str, least: float = 0.01) -> float:
    (found,) = HeldOutPrompts(held_out).nearest([text], least).similarities
    return float(found)


def test_one_prompt_is_compared_by_its_pairs_of_words() -> None:
    # start-a a-b b-c are shared; c-d d-end and c-e e-end are not; all weigh log 2 with one held-out prompt
    assert similarity("a b c e", "a b c d") == pytest.approx(3 / 7)
    assert similarity("a b c d", "a b c d") == pytest.approx(1.0)
    assert similarity("e f", "a b c d") == 0.0


def test_a_word_pair_weighs_the_less_the_more_held_out_prompts_have_it() -> None:  # pragma: allowlist secret
    # H = 3: start-a stands in two of them and weighs log(4/2), the others log 4
    rare, common = math.log(4), math.log(4 / 2)
    expected = (common + rare) / (common + rare + 4 * rare)
    assert similarity("a b x", "a b c", "a d", "e") == pytest.approx(expected)


def test_what_a_template_repeats_makes_no_near_duplicates() -> None:
    template = "below is an instruction that describes a task write a response that completes the request"
    held_out = [f"{template} mend part {number} of the blue machine" for number in range(30)]
    questions = [f"{template} {question}" for question in ("why is the sky blue", "mend part 99 of the blue machine")]
    assert HeldOutPrompts(held_out).nearest(questions, 0.7).similarities.tolist() == [0.0, 0.0]
    near = [f"{template} please mend part 7 of the blue machine"]
    assert similarity(questions[0], f"{template} why is the sea blue", least=0.7) > 0.7  # alone it is no template
    assert HeldOutPrompts(held_out).nearest(near, 0.3).similarities[0] > 0.3


def test_punctuation_is_no_word_and_other_signs_are() -> None:
    assert similarity("hello!", "hello") == pytest.approx(1.0)
    assert similarity("what is it , then ?", "what is it then") == pytest.approx(1.0)
    assert similarity("\u201cyes\u201d", '"yes"') == pytest.approx(1.0)
    assert similarity("compute 2+2", "compute 2-2") < 0.7
    assert similarity("???", "!!!") == 0.0


def test_signs_of_scripts_without_spaces_are_words() -> None:
    held_out = "\u8bf7\u544a\u8bc9\u6211\u5982\u4f55\u4fee\u7406\u8fd9\u53f0\u84dd\u8272\u7684\u673a\u5668"
    assert similarity(held_out[:-1] + "\u5668\u5417", held_out) > 0.7
    assert similarity("\u4eca\u5929\u5929\u6c14\u600e\u4e48\u6837", held_out) == 0.0


@pytest.mark.parametrize("least", [0.3, 0.7])
def test_the_search_finds_what_comparing_every_two_finds(least: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "BATCH_PROMPTS", 17)  # several batches on either side
    rng = random.Random(0)
    words = [f"w{number}" for number in range(12)]
    held_out = [" ".join(rng.choices(words, k=rng.randint(1, 14))) for _ in range(60)]
    texts = [" ".join(rng.choices(words, k=rng.randint(1, 14))) for _ in range(40)]
    texts += [" ".join([rng.choice(words), *text.split()[1:]]) for text in held_out]
    held_out = list(dict.fromkeys(held_out))
    found = HeldOutPrompts(held_out).nearest(texts, least).similarities
    assert found == pytest.approx(by_definition(texts, held_out, least)) and 20 < np.count_nonzero(found) < len(texts)
    assert HeldOutPrompts(held_out[::-1]).nearest(texts[::-1], least).similarities == pytest.approx(found[::-1])


def test_the_nearest_is_named_and_of_equals_the_first() -> None:
    held_out = ["a b c x", "a b c d e", "a b c y", "q"]
    similarities, prompts = HeldOutPrompts(held_out).nearest(["a b c d e f", "q", "a b c z", "o"], 0.1)
    assert prompts.tolist() == [1, 3, 0, -1] and similarities[3] == 0.0


def by_definition(texts: list[str], held_out: list[str], least: float) -> list[float]:
    """Every text beside every held-out prompt, with Python's own sets."""

    def pairs(text: str) -> set[tuple[str, str]]:
        words = ["", *text.split(), ""]
        return set(pairwise(words))

    def weight(some: set[tuple[str, str]]) -> float:
        return sum(math.log((len(held_out) + 1) / max(1, sum(pair in other for other in held))) for pair in some)

    held = [pairs(text) for text in held_out]
    nearest = [max(weight(pairs(text) & other) / weight(pairs(text) | other) for other in held) for text in texts]
    return [similar if similar >= least - 1e-9 else 0.0 for similar in nearest]


@pytest.mark.parametrize(("copies", "is_found"), [(NOMINATING - 1, True), (NOMINATING, False)])
def test_prompts_of_common_phrases_alone_are_not_looked_for(copies: int, is_found: bool) -> None:
    phrase = "please tell me how to mend this"
    held_out = [phrase, *(f"{phrase} {number} {phrase}" for number in range(copies))]
    # every pair of `phrase`, start and end counted, stands in copies + 1 held-out prompts
    assert (HeldOutPrompts(held_out).nearest([phrase], 0.7).similarities[0] > 0.7) == is_found


def test_nothing_is_near_nothing() -> None:
    assert HeldOutPrompts([]).nearest(["a"], 0.7).similarities.tolist() == [0.0]
    assert HeldOutPrompts(["..."]).nearest(["a", "..."], 0.7).similarities.tolist() == [0.0, 0.0]
    assert HeldOutPrompts(["a"]).nearest([], 0.7).similarities.tolist() == []
