"""Win rate of one policy over another, by the rewards of their answers to the same prompts."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlhf_core.metrics.estimates import Estimate, mean, share


def win_rate(rewards: ArrayLike, reference_rewards: ArrayLike) -> Estimate:
    """Share of the prompts on which the first answer is worth more, ties counting half.

    Args:
        rewards: rewards of N answers, shape ``[N]``.
        reference_rewards: rewards of the reference's answers to the same prompts, shape ``[N]``.

    Returns:
        The share in [0, 1], 0.5 for equals, with a bootstrap interval over prompts.
    """
    return share(wins(rewards, reference_rewards))


def wins(rewards: ArrayLike, reference_rewards: ArrayLike) -> NDArray[np.float64]:
    """1 for each prompt on which the first answer is worth more, 0 where less, .5 for a tie; shape ``[N]``."""
    return (np.sign(_gains(rewards, reference_rewards)) + 1.0) / 2.0


def paired_gain(rewards: ArrayLike, reference_rewards: ArrayLike) -> Estimate:
    """Mean gain in reward over the reference on the same prompts, with a paired bootstrap interval."""
    return mean(_gains(rewards, reference_rewards))


def _gains(rewards: ArrayLike, reference_rewards: ArrayLike) -> NDArray[np.float64]:
    return np.asarray(rewards, dtype=np.float64) - np.asarray(reference_rewards, dtype=np.float64)
