"""Signs of drift or collapse in responses: ends, repeated prompts, lengths, distinct n-grams, duplicates."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from rlhf_core.metrics.estimates import Estimate, clustered, proportion, weighted_ratio

COPIED_WORDS = 6
"""A run of so many words of the prompt in the response counts as regurgitation."""


def eos_rate(finished: Sequence[bool]) -> Estimate:
    """Share of the responses that ended by themselves, not by the length limit."""
    return proportion(sum(finished), len(finished))


def regurgitation_rate(prompts: Sequence[str], responses: Sequence[str]) -> Estimate:
    """Share of the responses that repeat six or more words of their prompt in a row.

    Args:
        prompts: N prompts.
        responses: their responses, in the same order.

    Returns:
        The share, in [0, 1], with its Wilson interval.
    """
    copied = [
        not _ngrams(prompt, COPIED_WORDS).isdisjoint(_ngrams(response, COPIED_WORDS))
        for prompt, response in zip(prompts, responses, strict=True)
    ]
    return proportion(sum(copied), len(copied))


def length_ratio(tokens: ArrayLike, reference_tokens: ArrayLike) -> Estimate:
    """Mean length over the mean length of paired reference responses, with a paired bootstrap interval.

    Args:
        tokens: lengths of N responses, shape ``[N]``.
        reference_tokens: lengths of the reference's responses to the same prompts, shape ``[N]``.

    Returns:
        The ratio; 1 where nothing changed.
    """
    columns = (np.asarray(column, dtype=np.float64) for column in (tokens, reference_tokens))
    return clustered(weighted_ratio, np.arange(np.size(tokens)), *columns)


def distinct_n(texts: Sequence[str], n: int) -> float:
    """Distinct n-grams of words over all n-grams of all texts (Li et al., 2016), in [0, 1]; 0 without any."""
    counts = Counter(
        gram for text in texts for gram in zip(*(text.split()[start:] for start in range(n)), strict=False)
    )
    return len(counts) / max(counts.total(), 1)


def duplicate_share(texts: Sequence[str]) -> float:
    """Share of the texts that equal an earlier one, in [0, 1)."""
    return 1.0 - len(set(texts)) / len(texts)


def _ngrams(text: str, n: int) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[start : start + n]) for start in range(len(words) - n + 1)}
