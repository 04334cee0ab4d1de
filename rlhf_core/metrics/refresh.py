"""Refresh of a reward model: its agreement on answers of the newest policy, before and after."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rlhf_core.data.records import Pair
from rlhf_core.metrics.calibration import hits
from rlhf_core.metrics.estimates import Estimate, mean, share


def compare_refresh(
    pairs: Sequence[Pair],
    *,
    refreshed: NDArray[np.float64],
    last: NDArray[np.float64],
    judge: NDArray[np.float64] | None = None,
) -> dict[str, Estimate]:
    """Agreement of two reward models on the same labelled answers of one policy, and how much the second is better.

    Args:
        pairs: N pairs of answers of the policy, of which none was trained on; those of one prompt are resampled
            together in every interval.
        refreshed: margins chosen - rejected by the reward model that learned from other answers of the policy, shape
            ``[N]``, logits.
        last: by the reward model before, that of the policy itself, shape ``[N]``.
        judge: by the held-out judge, shape ``[N]``; None where there is none.

    Returns:
        `agreement_on_policy` of the refreshed model, `last_agreement_on_policy` of the one before, both ties half, and
        `agreement_on_policy_gain`, their paired difference; with a judge `judge_agreement_on_policy`. n counts prompts.

    Raises:
        ValueError: if there is no pair.
    """
    prompts = [pair.prompt for pair in pairs]
    return {
        "agreement_on_policy": share(hits(refreshed), prompts),
        "last_agreement_on_policy": share(hits(last), prompts),
        "agreement_on_policy_gain": mean(hits(refreshed) - hits(last), prompts),
        **({} if judge is None else {"judge_agreement_on_policy": share(hits(judge), prompts)}),
    }
