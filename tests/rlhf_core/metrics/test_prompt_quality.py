"""Prompts of known kinds get the figures that they deserve."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from rlhf_core.metrics.prompt_quality import prompt_figures, prompt_near_duplicate_share, prompt_shift_auc, roc_auc

TOPICS = ("kettle", "garden", "bicycle", "tax", "guitar")


def asked(seed: int, count: int, topics: tuple[str, ...] = TOPICS) -> list[str]:
    """Questions about topics drawn evenly, in words that no question shares with more than a few others."""
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 300, (count, 4))
    return [
        f"{topics[topic]} " + " ".join(f"word{index:03d}" for index in row)
        for topic, row in zip(rng.integers(0, len(topics), count), words, strict=True)
    ]


def unlike(seed: int, count: int) -> list[str]:
    """Texts of which each has its own letters."""
    letters = np.random.default_rng(seed).integers(97, 123, (count, 30))
    return ["".join(map(chr, row)) for row in letters]


def test_prompts_drawn_like_those_of_the_pairs_cannot_be_told_from_them() -> None:
    found = prompt_shift_auc(asked(0, 400), asked(1, 600))
    assert found is not None
    assert found.lower < 0.5 < found.upper
    assert found.value == pytest.approx(0.5, abs=0.06)
    assert found.n == 400


def test_prompts_of_one_topic_among_five_are_told_as_often_as_theory_says() -> None:
    found = prompt_shift_auc(asked(0, 400, TOPICS[:1]), asked(1, 600))
    assert found is not None
    assert found.value == pytest.approx(1 - 1 / (2 * len(TOPICS)), abs=0.03)


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_a_share_of_prompts_from_elsewhere_adds_half_of_itself(share: float) -> None:
    foreign = round(400 * share)
    prompts = asked(0, 400 - foreign) + asked(2, foreign, ("planet",))
    found = prompt_shift_auc(prompts, asked(1, 600))
    assert found is not None
    assert found.value == pytest.approx(0.5 + share / 2, abs=0.04)


def test_the_same_prompts_on_both_sides_are_at_chance_exactly() -> None:
    prompts = asked(0, 200)
    found = prompt_shift_auc(prompts, prompts[::-1])
    assert found is not None
    assert found.value == 0.5


def test_copies_of_a_prompt_do_not_help_to_recognise_it() -> None:
    prompts = [copy for text in unlike(0, 40) for copy in (text, f" {text.upper()}")]
    pairs = [copy for text in unlike(1, 40) for copy in (text, f"{text} ")]
    found = prompt_shift_auc(prompts, pairs)
    assert found is not None
    assert found.value == pytest.approx(0.5, abs=0.01)


def test_copies_of_a_prompt_count_as_one_for_the_interval() -> None:
    once = prompt_shift_auc(asked(0, 100), asked(1, 100))
    often = prompt_shift_auc(asked(0, 100) * 4, asked(1, 100) * 4)
    assert once is not None
    assert often is not None
    assert often.upper - often.lower > 0.8 * (once.upper - once.lower)


observations = st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 3)), min_size=2, max_size=40).filter(
    lambda rows: {positive for _, positive, weight in rows if weight} == {True, False}
)


@given(observations)
def test_the_area_is_that_of_scikit_learn(rows: list[tuple[int, bool, int]]) -> None:
    levels, positive, weights = (np.array(column) for column in zip(*rows, strict=True))
    expected = roc_auc_score(positive, levels, sample_weight=weights)
    assert roc_auc(weights.astype(float), levels, positive.astype(float)) == pytest.approx(expected)


def test_without_one_side_the_area_is_that_of_chance() -> None:
    assert roc_auc(np.array([1.0, 0.0]), np.array([0, 1]), np.array([1.0, 0.0])) == 0.5


def test_case_marks_and_a_letter_make_no_other_prompt_and_other_words_do() -> None:
    text = "How do I change the seal of a dripping kitchen tap without any tools"
    assert prompt_near_duplicate_share([*unlike(0, 50), text, f"{text.upper()} ?!"]) == pytest.approx(
        (2 / 52, *prompt_near_duplicate_share([*unlike(0, 50), text, text])[1:])  # type: ignore[index]
    )
    different = "How do I water the tomatoes on a sunny balcony without any shade"
    found = prompt_near_duplicate_share([*unlike(0, 50), text, different])
    assert found is not None
    assert found.value == 0.0


def test_another_unicode_form_makes_no_other_prompt() -> None:
    forms = ["\u00e9\u00e8\u00e7\u00f6\u00fc", "e\u0301e\u0300c\u0327o\u0308u\u0308"]
    share = prompt_near_duplicate_share(forms)
    assert share is not None and share.value == 1.0
    assert prompt_shift_auc([f"{forms[0]} {i}" for i in range(40)], [f"{forms[1]} {i}" for i in range(40)]).value == 0.5


def test_the_share_is_of_prompts_not_of_pairs_of_them_whatever_their_order() -> None:
    prompts = [*unlike(0, 30), *["What is the capital of France"] * 10]
    found = prompt_near_duplicate_share(prompts)
    assert found is not None
    assert (found.value, found.n) == (0.25, 40)
    assert prompt_near_duplicate_share(prompts[::-1]) == found


def test_near_is_a_cosine() -> None:
    prompts = ["how do i mend a kettle", "how do i mend a bottle"]
    close = prompt_near_duplicate_share(prompts, near=0.2)
    apart = prompt_near_duplicate_share(prompts, near=0.99)
    assert close is not None
    assert apart is not None
    assert (close.value, apart.value) == (1.0, 0.0)


def test_a_sample_of_many_prompts_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlhf_core.metrics.prompt_quality.LOOKED_AT", 100)
    monkeypatch.setattr("rlhf_core.metrics.prompt_quality.AMONG", 400)
    monkeypatch.setattr("rlhf_core.metrics.prompt_quality.COMPARED", 300)
    found = prompt_figures([*unlike(0, 500), *["the same again and again"] * 500], unlike(1, 500))
    assert found["prompt_near_duplicate_share"].n == 100
    assert found["prompt_near_duplicate_share"].value == pytest.approx(0.5, abs=0.15)
    assert 100 < found["prompt_shift_auc"].n < 200  # of the 300 that are drawn, half are one and the same


def test_what_few_prompts_cannot_tell_is_left_out() -> None:
    assert set(prompt_figures(unlike(0, 20), unlike(1, 4))) == {"prompt_near_duplicate_share"}
    assert prompt_figures(["only one"], []) == {}
    assert prompt_figures([], []) == {}
    assert prompt_near_duplicate_share([" ", ""]) is None
