"""Length bias of a reward model: correlation with length, and agreement where length tells nothing."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlhf_core.data.records import Pair
from rlhf_core.metrics.calibration import hits
from rlhf_core.metrics.estimates import Estimate, clustered, share, weighted_covariance

LENGTH_BAND = 0.8
"""Two responses are of like length if the shorter has at least this share of the longer one's words."""


def length_correlation(scores: NDArray[np.float64], texts: Sequence[str], prompts: ArrayLike) -> Estimate:
    """Pearson correlation of scores with words, with an interval over prompts.

    Args:
        scores: of N responses, shape ``[N]``; the unit does not matter.
        texts: the responses.
        prompts: what each of them answers, shape ``[N]``; those of one prompt are resampled together.

    Returns:
        In [-1, 1]; 0 where scores or lengths do not vary.

    Raises:
        ValueError: if there is no response.
    """
    words = np.array([len(text.split()) for text in texts], dtype=np.float64)
    return clustered(weighted_pearson, prompts, scores, words)


def agreement_by_slice(deltas: NDArray[np.float64], pairs: Sequence[Pair]) -> dict[str, Estimate]:
    """Agreement on parts of the pairs: by which response is longer, and by how sure the reward model is.

    Args:
        deltas: margins chosen - rejected, shape ``[N]``; the unit does not matter.
        pairs: the N pairs; those of one prompt are resampled together.

    Returns:
        `length_matched_agreement`, both responses of like length by `LENGTH_BAND`; `agreement_chosen_longer` and
        `agreement_chosen_shorter`, the others; `agreement_low_confidence`, `_middle_` and `_high_`, thirds by |delta|.
        A slice without a pair is left out; n counts the prompts of the slice.
    """
    chosen, rejected = (
        np.array([len(text.split()) for text in texts], dtype=np.float64)
        for texts in ([pair.chosen for pair in pairs], [pair.rejected for pair in pairs])
    )
    like = np.minimum(chosen, rejected) >= LENGTH_BAND * np.maximum(chosen, rejected)
    low, middle, high = np.array_split(np.argsort(np.abs(deltas), kind="stable"), 3)
    slices = {
        "length_matched_agreement": np.flatnonzero(like),
        "agreement_chosen_longer": np.flatnonzero(~like & (chosen > rejected)),
        "agreement_chosen_shorter": np.flatnonzero(~like & (chosen < rejected)),
        "agreement_low_confidence": low,
        "agreement_middle_confidence": middle,
        "agreement_high_confidence": high,
    }
    prompts = np.array([pair.prompt for pair in pairs])
    return {name: share(hits(deltas[indices]), prompts[indices]) for name, indices in slices.items() if len(indices)}


def weighted_pearson(
    weights: NDArray[np.float64], first: NDArray[np.float64], second: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Pearson correlation of observations that each count as often as their weight says; 0 where one does not vary.

    Args:
        weights: shape ``[..., N]``.
        first: shape ``[N]``.
        second: shape ``[N]``.
    """
    covariance = weighted_covariance(weights, np.column_stack([first, second]))
    spread = np.sqrt(np.maximum(covariance[..., 0, 0] * covariance[..., 1, 1], 0.0))
    correlation = np.divide(covariance[..., 0, 1], spread, out=np.zeros_like(spread), where=spread > 0.0)
    return np.asarray(np.clip(correlation, -1.0, 1.0))
