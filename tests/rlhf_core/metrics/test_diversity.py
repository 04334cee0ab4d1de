"""Signs of collapse by hand, their intervals against leaving texts out one by one, self-BLEU against sacrebleu."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu import sentence_bleu
from scipy import stats

from rlhf_core.metrics.diversity import (
    distinct,
    distinct_ratio,
    duplicates,
    duplicates_gain,
    entropy_per_token,
    entropy_ratio,
    repeats_within,
    self_bleu,
    trend,
)
from rlhf_core.metrics.drift import distinct_n, duplicate_share
from rlhf_core.metrics.estimates import jackknife

TEXTS = st.lists(st.text("ab ", min_size=1, max_size=12), min_size=2, max_size=8)


def without(texts: list[str], index: int) -> list[str]:
    return texts[:index] + texts[index + 1 :]


def half_width(left_out: list[float]) -> float:
    values = np.array(left_out)
    student = stats.t.ppf(0.975, len(values) - 1)
    return float(student * np.sqrt((len(values) - 1) / len(values) * np.square(values - values.mean()).sum()))


@given(TEXTS, st.integers(1, 3))
def test_distinct_is_left_out_text_by_text(texts: list[str], n: int) -> None:
    found = distinct(texts, n)
    spread = half_width([distinct_n(without(texts, index), n) for index in range(len(texts))])
    assert found == pytest.approx((distinct_n(texts, n), found.value - spread, found.value + spread, len(texts)))


@given(TEXTS)
def test_duplicates_are_left_out_text_by_text(texts: list[str]) -> None:
    found = duplicates(texts)
    spread = half_width([duplicate_share(without(texts, index)) for index in range(len(texts))])
    assert found == pytest.approx((duplicate_share(texts), found.value - spread, found.value + spread, len(texts)))


def test_beside_a_reference_the_same_texts_are_left_out() -> None:
    texts, reference = ["a b", "a b c", "b c", "a b"], ["a b", "c d e", "f g", "h i"]
    places = range(len(texts))
    ratio = distinct_ratio(texts, reference, 2)
    ratios = [distinct_n(without(texts, index), 2) / distinct_n(without(reference, index), 2) for index in places]
    assert ratio.value == pytest.approx((2 / 5) / 1.0)
    assert ratio.upper - ratio.value == pytest.approx(half_width(ratios))
    gain = duplicates_gain(texts, reference)
    gains = [duplicate_share(without(texts, index)) for index in places]
    assert gain.value == pytest.approx(1 / 4)
    assert gain.upper - gain.value == pytest.approx(half_width(gains))


def test_the_jackknife_of_a_mean_is_the_interval_of_student() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 50)
    found = jackknife(float(values.mean()), [np.delete(values, index).mean() for index in range(50)])
    spread = stats.t.ppf(0.975, 49) * values.std(ddof=1) / np.sqrt(50)
    assert found == pytest.approx((values.mean(), values.mean() - spread, values.mean() + spread, 50))


def test_self_bleu_is_the_mean_of_sacrebleu_against_the_others() -> None:
    texts = ["the cat sat on the mat today", "the cat sat on a mat", "a dog ran over the road", "the cat sat on it"]
    expected = [sentence_bleu(text, without(texts, index)).score / 100 for index, text in enumerate(texts)]
    found = self_bleu(texts)
    assert found.value == pytest.approx(np.mean(expected))
    assert 0.0 < found.lower < found.value < found.upper < 1.0 and found.n == 4


def test_equal_texts_have_a_self_bleu_of_1_and_texts_without_a_common_word_of_0() -> None:
    assert self_bleu(["one two three four five"] * 200).value == pytest.approx(1.0)
    assert self_bleu([f"a{n} b{n} c{n} d{n} e{n}" for n in range(200)])[::3] == pytest.approx((0.0, 50))
    assert self_bleu(["one two", "one two"]).value == pytest.approx(1.0)
    with pytest.raises(ValueError, match="at least two"):
        self_bleu(["alone"])


def test_entropy_is_summed_before_it_is_divided() -> None:
    assert entropy_per_token([1.0, 9.0], [1, 3]).value == pytest.approx(10 / 4)
    assert entropy_ratio([1.0, 9.0], [1, 3], [10.0, 10.0], [1, 1]).value == pytest.approx((10 / 4) / 10)
    assert entropy_ratio([1.0, 9.0], [1, 3], [2.0, 18.0], [1, 3])[:3] == pytest.approx((0.5, 0.5, 0.5))


def test_a_trend_is_the_change_over_all_steps_whatever_one_outlier_says() -> None:
    found = trend([0, 4, 8, 12, 16], [2.0, 1.8, 9.0, 1.4, 1.2])
    assert found is not None
    assert found.value == pytest.approx(-0.8) and found.n == 5
    assert trend([0, 4], [1.0, 2.0]) is None


def test_repeats_within_a_prompt_do_not_count_those_of_another() -> None:
    assert repeats_within([["a", "a", "b", "b"], ["a", "b", "c", "d"]])[::3] == (0.25, 2)
