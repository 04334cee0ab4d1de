"""The KL controller: beta, the price of KL, from update to update."""

from rlhf_core.config.control import AdaptiveKLConfig, FixedKLConfig

LARGEST_ERROR = 0.2
"""Part of the target that an error counts as at most, in Ziegler et al. (2019)."""


def next_beta(control: FixedKLConfig | AdaptiveKLConfig, beta: float, *, kl_nats: float, responses: int) -> float:
    """Beta of the next update, by the proportional controller of Ziegler et al. (2019), section 2.2, where it adapts.

    Their K_beta is `responses / horizon`, as in their code, so that the size of a rollout does not change the pace.

    Args:
        control: fixed, or target and horizon.
        beta: of this update, in calibrated reward per nat.
        kl_nats: KL to the SFT model per response of its rollout, k1.
        responses: of its rollout.

    Returns:
        The same where it is fixed; else larger where the KL is above its target and smaller where it is below, by at
        most a fifth of responses / horizon.
    """
    if isinstance(control, FixedKLConfig):
        return beta
    error = min(max(kl_nats / control.target_nats - 1.0, -LARGEST_ERROR), LARGEST_ERROR)
    return beta * (1.0 + error * responses / control.horizon)
