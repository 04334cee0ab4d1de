"""Diversity of a policy's answers, in which mode collapse shows: self-BLEU, entropy, repeats."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from rlhf_core.metrics.drift import distinct_n, duplicate_share
from rlhf_core.metrics.estimates import Estimate, clustered, jackknife, mean, weighted_ratio

SELF_BLEU_TEXTS = 64
"""Answers at most whose BLEU against each other is taken, spread evenly over all: its cost grows with their square."""


class _Jackknifed(NamedTuple):
    """A statistic of N texts, and without each of them in turn, shape ``[N]``."""

    value: float
    left_out: NDArray[np.float64]


def distinct(texts: Sequence[str], n: int) -> Estimate:
    """Distinct n-grams of words over all n-grams (Li et al., 2016), as `distinct_n`, with a jackknife interval."""
    return jackknife(*_distinct(texts, n))


def distinct_ratio(texts: Sequence[str], reference: Sequence[str], n: int) -> Estimate:
    """`distinct` of N texts over that of a reference's texts to the same prompts, which are left out together."""
    ours, theirs = _distinct(texts, n), _distinct(reference, n)
    return jackknife(ours.value / max(theirs.value, 1e-8), ours.left_out / np.maximum(theirs.left_out, 1e-8))


def duplicates(texts: Sequence[str]) -> Estimate:
    """Share of the texts that equal an earlier one, as `duplicate_share`, with a jackknife interval."""
    return jackknife(*_duplicates(texts))


def duplicates_gain(texts: Sequence[str], reference: Sequence[str]) -> Estimate:
    """`duplicates` of N texts less that of a reference's texts to the same prompts, which are left out together."""
    ours, theirs = _duplicates(texts), _duplicates(reference)
    return jackknife(ours.value - theirs.value, ours.left_out - theirs.left_out)


def self_bleu(texts: Sequence[str]) -> Estimate:
    """Mean BLEU of a text with the others as references (Zhu et al., 2018, 'Texygen'), by sacrebleu.

    Args:
        texts: at least two; of more than 64, as many are taken, at even distances.

    Returns:
        From 0, nothing in common, to 1, all the same; with a bootstrap interval over the texts that were taken.

    Raises:
        ValueError: if there are fewer than two texts.
    """
    from sacrebleu import BLEU  # noqa: PLC0415 most stages can spare it

    if len(texts) < 2:
        raise ValueError("self-BLEU compares texts: give at least two")
    sample = list(texts[:: -(-len(texts) // SELF_BLEU_TEXTS)])
    sample = sample if len(sample) > 1 else list(texts[:2])
    bleu = BLEU(effective_order=True)  # as sacrebleu asks for single sentences
    scores = [
        bleu.sentence_score(text, sample[:index] + sample[index + 1 :]).score / 100 for index, text in enumerate(sample)
    ]
    return mean(scores)


def entropy_per_token(surprisal: ArrayLike, tokens: ArrayLike) -> Estimate:
    """Entropy of a policy per sampled token, estimated by the log-probabilities of its own samples.

    Args:
        surprisal: minus the log-probability of each response, shape ``[N]``, nats.
        tokens: their lengths, shape ``[N]``.

    Returns:
        Nats per token, with a bootstrap interval over responses.
    """
    columns = (np.asarray(column, dtype=np.float64) for column in (surprisal, tokens))
    return clustered(weighted_ratio, np.arange(np.size(tokens)), *columns)


def entropy_ratio(
    surprisal: ArrayLike, tokens: ArrayLike, reference_surprisal: ArrayLike, reference_tokens: ArrayLike
) -> Estimate:
    """`entropy_per_token` over that of a reference on the same N prompts, with a paired bootstrap interval."""
    columns = (surprisal, tokens, reference_surprisal, reference_tokens)
    return clustered(
        lambda weights, ours, length, theirs, their_length: (
            weighted_ratio(weights, ours, length) / np.maximum(weighted_ratio(weights, theirs, their_length), 1e-8)
        ),
        np.arange(np.size(tokens)),
        *(np.asarray(column, dtype=np.float64) for column in columns),
    )


def trend(steps: Sequence[float], values: Sequence[float]) -> Estimate | None:
    """Change of a figure over the steps that it was measured at: Theil and Sen's slope times the steps between.

    Args:
        steps: at which it was measured, increasing.
        values: what it was.

    Returns:
        In the unit of the figure, with the interval of Sen (1968); None with fewer than three measurements.
    """
    if len(steps) < 3:
        return None
    fit = scipy.stats.theilslopes(values, steps, alpha=0.95)
    change, lower, upper = np.array([fit.slope, fit.low_slope, fit.high_slope]) * (steps[-1] - steps[0])
    return Estimate(float(change), float(lower), float(upper), len(steps))


def repeats_within(answers: Iterable[Sequence[str]]) -> Estimate:
    """Share of the answers to a prompt that equal an earlier one to the same prompt, mean over prompts.

    Args:
        answers: several texts for each prompt.

    Returns:
        In [0, 1), with a bootstrap interval over prompts.
    """
    return mean([duplicate_share(texts) for texts in answers])


def _distinct(texts: Sequence[str], n: int) -> _Jackknifed:
    grams = [Counter(zip(*(text.split()[start:] for start in range(n)), strict=False)) for text in texts]
    total: Counter[tuple[str, ...]] = Counter()
    for mine in grams:
        total.update(mine)
    only_here = np.array([sum(total[gram] == count for gram, count in mine.items()) for mine in grams])
    others = total.total() - np.array([mine.total() for mine in grams])
    return _Jackknifed(distinct_n(texts, n), (len(total) - only_here) / np.maximum(others, 1))


def _duplicates(texts: Sequence[str]) -> _Jackknifed:
    counts = Counter(texts)
    only_here = np.array([counts[text] == 1 for text in texts])
    return _Jackknifed(duplicate_share(texts), 1.0 - (len(counts) - only_here) / max(len(texts) - 1, 1))
