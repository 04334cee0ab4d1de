"""Reward-model ensembles: disagreement and correlation of the members."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlhf_core.metrics.estimates import Estimate, clustered, mean, weighted_covariance


def mean_disagreement(spreads: NDArray[np.float64], prompts: ArrayLike) -> Estimate:
    """Mean over responses of the standard deviation over members, with an interval over prompts.

    Args:
        spreads: standard deviation over members of each of N responses, shape ``[N]``, calibrated logits.
        prompts: what each of them answers, shape ``[N]``.
    """
    return mean(spreads, prompts)


def member_correlation(deltas: NDArray[np.float64], prompts: ArrayLike) -> Estimate:
    """Pearson correlation of the margins of two members, mean over all twos, with an interval over prompts.

    Args:
        deltas: margins chosen - rejected of N pairs by K members, shape ``[N, K]``, K at least 2; units do not matter.
        prompts: prompt of each pair, shape ``[N]``.

    Returns:
        In [-1, 1]; 1 where all members are one and the same but for their scale, or say nothing at all.
    """
    return clustered(_mean_correlation, prompts, deltas)


def _mean_correlation(weights: NDArray[np.float64], deltas: NDArray[np.float64]) -> NDArray[np.float64]:
    covariance = weighted_covariance(weights, deltas)
    variance = np.diagonal(covariance, axis1=-2, axis2=-1)
    scale = np.sqrt(variance[..., :, None] * variance[..., None, :])
    correlations = np.divide(covariance, scale, out=np.ones_like(covariance), where=scale > 0.0)
    rows, columns = np.triu_indices(deltas.shape[1], 1)
    return np.asarray(np.clip(correlations[..., rows, columns], -1.0, 1.0).mean(axis=-1))
