"""A challenger's answers beside a champion's to the same prompts: at like length, and by slices of the prompts."""

from collections.abc import Mapping, Sequence

import numpy as np
import scipy
from numpy.typing import NDArray

from rlhf_core.metrics.estimates import Estimate, clustered, share, weighted_covariance, weighted_mean

FEWEST_IN_SLICE = 50
"""Prompts of a slice at least: with fewer, only a rout could be seen."""

TOPICS = 4
"""Clusters of prompts by the words that they share."""


def gain_at_like_length(gains: NDArray[np.float64], lengths: NDArray[np.float64]) -> Estimate:
    """Mean gain that is left where both answers are of one length.

    The gain is regressed on the logarithm of the ratio of the lengths, and its value at a ratio of 1 is taken, as the
    length-controlled win rates of AlpacaEval do it for wins (Dubois et al., 2024, section 3).

    Args:
        gains: score of the challenger's less that of the champion's answer, shape ``[N]``.
        lengths: words of both answers, shape ``[N, 2]``, the challenger's first; an empty answer counts as one word.

    Returns:
        In the unit of the scores, with an interval over prompts; the mean gain where the ratio does not vary.
    """
    ratios = np.log(np.maximum(lengths[:, 0], 1.0) / np.maximum(lengths[:, 1], 1.0))
    return clustered(_intercept, np.arange(len(gains)), gains, ratios)


def worst_slice(wins: NDArray[np.float64], slices: Mapping[str, NDArray[np.bool_]]) -> tuple[str, Estimate] | None:
    """The slice with the lowest upper bound of its win rate, as sure as if it were the only one.

    Its interval is that of Bonferroni, at 1 - .05 / k for k slices, so that of equals one slice in all would seem to
    lose in no more than one of forty comparisons.

    Args:
        wins: 1, .5 or 0 for each prompt, shape ``[N]``.
        slices: which prompts each has, shape ``[N]``; those of fewer than `FEWEST_IN_SLICE` are not looked at.

    Returns:
        Its name and win rate; None where no slice is large enough.
    """
    large = {name: rows for name, rows in slices.items() if rows.sum() >= FEWEST_IN_SLICE}
    if not large:
        return None
    norm = scipy.stats.norm
    stretch = float(norm.ppf(1 - 0.025 / len(large)) / norm.ppf(0.975))
    rates = {name: _stretched(share(wins[rows]), stretch) for name, rows in large.items()}
    name = min(rates, key=lambda each: (rates[each].upper, each))
    return name, rates[name]


def prompt_slices(prompts: Sequence[str], sources: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """Parts of the prompts: by where they come from, by their length, and by topic.

    Args:
        prompts: N texts.
        sources: the file that each comes from.

    Returns:
        Which prompts are in each, shape ``[N]``; a way to part them that gives one part only is left out. Topics are
        clusters of TF-IDF vectors by k-means, each named by the word that weighs most in it.
    """
    words = np.array([len(prompt.split()) for prompt in prompts])
    low, high = np.quantile(words, [1 / 3, 2 / 3])
    ways = [
        {f"source {source}": np.array(sources) == source for source in dict.fromkeys(sources)},
        {
            "short prompts": words <= low,
            "middling prompts": (words > low) & (words <= high),
            "long prompts": words > high,
        },
        _topics(prompts),
    ]
    parts = ({name: rows for name, rows in way.items() if rows.any()} for way in ways)
    return {name: rows for way in parts if len(way) > 1 for name, rows in way.items()}


def _topics(prompts: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    from sklearn.cluster import KMeans  # noqa: PLC0415 training can spare 75 MiB
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415 as above

    if len(prompts) < TOPICS * FEWEST_IN_SLICE:
        return {}
    vectorizer = TfidfVectorizer(max_df=0.5, min_df=2, token_pattern=r"(?u)\b\w\w\w+\b")
    try:
        vectors = vectorizer.fit_transform(prompts)
    except ValueError:  # no word is shared by some of the prompts and not by most
        return {}
    clusters = KMeans(TOPICS, n_init=3, random_state=0).fit(vectors)
    heaviest = vectorizer.get_feature_names_out()[clusters.cluster_centers_.argmax(axis=1)]
    return {f"topic {word}": clusters.labels_ == label for label, word in enumerate(heaviest)}


def _intercept(
    weights: NDArray[np.float64], gains: NDArray[np.float64], ratios: NDArray[np.float64]
) -> NDArray[np.float64]:
    covariance = weighted_covariance(weights, np.column_stack([gains, ratios]))
    spread = covariance[..., 1, 1]
    slope = np.divide(covariance[..., 0, 1], spread, out=np.zeros_like(spread), where=spread > 1e-12)
    return np.asarray(weighted_mean(weights, gains) - slope * weighted_mean(weights, ratios))


def _stretched(estimate: Estimate, by: float) -> Estimate:
    down, up = (by * (estimate.value - estimate.lower), by * (estimate.upper - estimate.value))
    return estimate._replace(lower=estimate.value - down, upper=estimate.value + up).within(0.0, 1.0)
