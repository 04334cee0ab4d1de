"""Sources of labels: who contradicts the others, who likes length beyond them, and that sound ones are left alone."""

import random

import numpy as np
import pytest
from scipy import stats

from rlhf_core.data.records import Pair
from rlhf_core.metrics.agreement import bag_of_words_margins
from rlhf_core.metrics.label_sources import (
    CONTRADICTS,
    FALSE_ALARMS,
    SOURCES,
    SourceFigures,
    least_source_agreement,
    measure_sources,
)
from rlhf_core.metrics.raters import LIKES_LENGTH


def labelled(source: str, count: int, *, right: float = 0.8, length: float = 0.0) -> list[tuple[str, Pair]]:
    """Pairs of a good and a bad answer of random lengths; a share of labels is right, another one goes by length."""
    rng, found = random.Random(source), []
    for index in range(count):
        good, bad = ((f"{word} " + "so " * rng.randrange(6)).strip() for word in ("yes indeed", "never mind"))
        first = rng.random() < right
        if rng.random() < length and len(good) != len(bad):
            first = len(good) > len(bad)
        found.append((source, Pair(f"{source} {index // 2}", *((good, bad) if first else (bad, good)))))
    return found


def measured(*parts: list[tuple[str, Pair]]) -> dict[str, SourceFigures]:
    sources, pairs = zip(*[item for part in parts for item in part], strict=True)
    groups = [pair.prompt for pair in pairs]
    return measure_sources(pairs, groups, sources, bag_of_words_margins([], pairs, groups))


SOUND = [labelled(f"week {number}", 120) for number in range(8)]


def test_the_source_whose_labels_are_the_wrong_way_round_is_named_and_no_other() -> None:
    found = measured(*SOUND, labelled("vendor", 200, right=0.2))
    assert {name: each.verdicts for name, each in found.items() if each.verdicts} == {"vendor": (CONTRADICTS,)}
    assert found["vendor"].agreement.value == pytest.approx(0.2, abs=0.08)
    assert least_source_agreement(found) == {"least_source_agreement": found["vendor"].agreement}
    assert found["vendor"].agreement.n == 100  # prompts of two pairs each


def test_the_source_that_likes_length_is_named_though_it_agrees() -> None:
    found = measured(*SOUND, labelled("old guideline", 300, length=0.7))
    assert {name: each.verdicts for name, each in found.items() if each.verdicts} == {"old guideline": (LIKES_LENGTH,)}
    assert found["old guideline"].agreement.value > 0.5
    longer = found["old guideline"].longer
    assert longer is not None and longer.value > 0.2
    liked = labelled("old guideline", 300, right=0.2, length=0.7)
    turned = [(name, pair._replace(chosen=pair.rejected, rejected=pair.chosen)) for name, pair in liked]
    short = measured(*SOUND, turned)
    assert short["old guideline"].verdicts == ()  # who likes brevity is another matter


def test_sound_sources_do_not_seem_to_like_length_beside_one_that_contradicts() -> None:
    def wordy(source: str, count: int, right: float) -> list[tuple[str, Pair]]:
        rng, found = random.Random(source), []
        for number in range(count):
            good = f"Turn part {number} off first, and then call {rng.randrange(9)}."
            texts = (good, f"I do not know {rng.randrange(9)}.")[:: 1 if rng.random() < right else -1]
            found.append((source, Pair(f"{source} {number}", *texts)))
        return found

    weeks = [wordy(f"week {number}", 120, 0.85) for number in range(4)]
    found = measured(*weeks, wordy("vendor", 160, 0.15))
    assert {name: each.verdicts for name, each in found.items() if each.verdicts} == {"vendor": (CONTRADICTS,)}


def test_a_few_labels_say_nothing_and_neither_does_a_source_alone() -> None:
    found = measured(*SOUND, labelled("vendor", 40, right=0.0))
    assert "vendor" not in found  # 20 prompts
    assert measured(labelled("vendor", 400)) == {} == least_source_agreement({})


def test_the_interval_is_that_of_student_over_prompts_for_200_sources() -> None:
    rng, pairs, margins, groups = np.random.default_rng(0), [], [], []
    for index in range(60):
        pairs += [Pair(f"p {index}", "one two", "three four")] * 2
        margins += [rng.choice([-1.0, 1.0])] * 2  # both pairs of a prompt are one observation
        groups += [f"p {index}"] * 2
    found = measure_sources(pairs, groups, ["a"] * 100 + ["b"] * 20, np.array(margins))
    right = np.array(margins)[:100:2] > 0
    reach = stats.t.ppf(1 - FALSE_ALARMS / (2 * SOURCES), 49) * right.std(ddof=1) / np.sqrt(50)
    mean = right.mean()
    assert found.keys() == {"a"}
    assert found["a"].agreement == pytest.approx((mean, mean - reach, mean + reach, 50))
    assert found["a"].longer is None  # all are of one length


def test_no_sound_source_is_named_in_200_looks() -> None:
    rng, named = np.random.default_rng(1), 0
    pairs = [Pair(f"p {index // 3}", "a b c"[: 1 + 2 * rng.integers(3)], "d e") for index in range(3000)]
    groups, sources = [pair.prompt for pair in pairs], [f"s {index // 150}" for index in range(3000)]
    for _ in range(200):
        truth = rng.normal(0.4, 0.8, 3000)  # of the chosen response, as the words tell it
        flipped = np.where(rng.random(3000) < 1 / (1 + np.exp(-truth)), truth, -truth)
        named += sum(bool(each.verdicts) for each in measure_sources(pairs, groups, sources, flipped).values())
    assert named == 0
