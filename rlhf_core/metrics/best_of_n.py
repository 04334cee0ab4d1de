"""Best-of-n: what a policy must beat, as the same KL can be had by choosing among answers of the SFT model.

Of n answers of the SFT model the one that the frozen reward model ranks first is taken; nothing is trained. It costs n
times the sampling of every answer, and spends its KL well: a trained policy that is worse at no less KL has learned
something else than what the reward model says.
"""

import math
from collections.abc import Sequence

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from rlhf_core.metrics.estimates import Estimate, point, share
from rlhf_core.metrics.policy import Answers
from rlhf_core.metrics.win_rate import paired_gain


def best_of_n_kl(n: int) -> float:
    """KL of best-of-n to the SFT model, log n - (n - 1) / n (Stiennon et al., 2020).

    It is an upper bound (Beirami et al., 2024): exact where no two answers are equal, and loose where the same ones
    come again and again. Best-of-n may thus be nearer to the SFT model than this says, never further from it.

    Args:
        n: answers that are chosen from, at least 1.

    Returns:
        Nats per response; 0 for n = 1.
    """
    return math.log(n) - (n - 1) / n


def affordable_n(kl_nats: float, most: int) -> int:
    """The largest n, up to `most`, whose KL by `best_of_n_kl` is not above a given one; at least 1."""
    return max(n for n in range(1, most + 1) if n == 1 or best_of_n_kl(n) <= kl_nats)


def best_of(n: int, ranking: ArrayLike, values: ArrayLike) -> NDArray[np.float64]:
    """What the best of n of N samples is worth, averaged over all choices of n of them.

    The chance that the i-th smallest of N is the best of n drawn without replacement is C(i-1, n-1) / C(N, n), which
    gives an unbiased estimate from all N samples (Nakano et al., 2021) and not from the first n alone.

    Args:
        n: samples that are chosen from, 1 to N.
        ranking: what decides which sample is best, such as scores by the reward model, shape ``[P, N]``.
        values: what the chosen sample is worth, such as its score by the judge, shape ``[P, N]``; samples that the
            ranking cannot tell apart should be worth the same, as copies of one text are.

    Returns:
        Shape ``[P]``, in the unit of the values.

    Raises:
        ValueError: if n is not among 1 to N.
    """
    ranked = np.take_along_axis(np.asarray(values, dtype=np.float64), np.argsort(ranking, axis=1, kind="stable"), 1)
    count = ranked.shape[1]
    if not 1 <= n <= count:
        raise ValueError(f"the best of {n} cannot be told from {count} samples")
    not_above = scipy.stats.hypergeom.pmf(n, count, np.arange(count + 1), n)  # all n are among the i smallest
    worth: NDArray[np.float64] = ranked @ np.diff(not_above)
    return worth


def compare_best_of_n(policy: Answers, draws: Sequence[Answers]) -> dict[str, Estimate]:
    """A policy beside best-of-n at no more KL, on the same prompts.

    Args:
        policy: answers of the trained policy to P prompts.
        draws: N answers of the SFT model to each of them, the first being those that the policy is compared with
            elsewhere, so that gains can be subtracted from one another.

    Returns:
        `best_of_n`, the n whose KL is the largest that is not above that of the policy, and `best_of_n_kl_nats`; gains
        of the best of n over the SFT model by reward model and judge; `judge_gain_over_best_of_n` and
        `judge_win_rate_over_best_of_n` of the policy, paired by prompt.
    """
    reward, judge = (np.stack([getattr(draw, name) for draw in draws], axis=1) for name in ("reward", "judge"))
    count = len(policy.texts)
    n = affordable_n(float(policy.kl.mean()), len(draws))
    best_judge = best_of(n, reward, judge)
    wins = best_of(n, reward, (np.sign(policy.judge[:, None] - judge) + 1.0) / 2.0)
    return {
        "best_of_n": point(n, count),
        "best_of_n_kl_nats": point(best_of_n_kl(n), count),
        "best_of_n_reward_gain": paired_gain(best_of(n, reward, reward), draws[0].reward),
        "best_of_n_judge_gain": paired_gain(best_judge, draws[0].judge),
        "judge_gain_over_best_of_n": paired_gain(policy.judge, best_judge),
        "judge_win_rate_over_best_of_n": share(wins),
    }
